"""Other packages on the same telegrams: what they decode, and whether their values are ours.

A comparison of speed means something only for the same content, so each package is first asked
for all values of each telegram. A telegram that it cannot decode, or reads otherwise, is left out
for all contenders, and counted.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from importlib import metadata
from types import ModuleType
from typing import NamedTuple

from benchmarks.fleet import Sample
from openmetering import Decoder, MeterTime, Record

__all__ = ["Agreement", "agree", "load", "meterbus_values", "pymbusparser_values"]

_SECONDS = {"min": 60, "h": 3600, "d": 86400}  #: durations, which pyMeterBus gives in seconds
_CLOSE = Decimal("1e-9")  #: relative; pyMeterBus computes with floats


class Agreement(NamedTuple):
    """Telegrams of which all values agree, how many values that are, and why others were left out."""

    samples: list[Sample]
    values: int
    left_out: Counter[str]

    def __str__(self) -> str:
        text = f"{self.values} values of {len(self.samples)} telegrams agree"
        if not self.left_out:
            return text
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.left_out.most_common(4))
        return f"{text}; {self.left_out.total()} telegrams left out for all: {reasons}"


def load(module: str, distribution: str) -> ModuleType | None:
    """An optional package; None if it is not installed (a line says so)."""
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        print(f"{distribution} is not installed: its rows are left out (pip install {distribution})")
        return None
    print(f"{distribution} {metadata.version(distribution)}")
    return loaded


def _same(record: Record, value: object) -> bool:
    """True if a package gives the value of our record."""
    ours = record.value
    if isinstance(ours, Decimal):
        try:
            theirs = Decimal(str(value))
        except InvalidOperation:
            return False
        in_seconds = ours * _SECONDS.get(record.unit, 1)
        return any(abs(theirs - number) <= abs(number) * _CLOSE for number in (ours, in_seconds))
    if isinstance(ours, MeterTime):
        text = str(value).replace(" ", "T")
        return text in (ours.isoformat(), f"{ours.isoformat()}:00")
    return ours == value or (isinstance(ours, str) and ours == str(value).strip())


def agree(samples: Iterable[Sample], decoder: Decoder, values: Callable[[Sample], Sequence[object]]) -> Agreement:
    """Compare all values of all telegrams; ``values`` raises for a telegram the package cannot decode."""
    kept, number, left_out = [], 0, Counter[str]()
    for sample in samples:
        records = decoder.examine(sample.frame, sample.key).records
        try:
            found = values(sample)
        except Exception as error:
            left_out[f"not decoded ({type(error).__name__})"] += 1
            continue
        if len(found) != len(records):
            left_out["with other records"] += 1
            continue
        odd = [record for record, value in zip(records, found, strict=True) if not _same(record, value)]
        if odd:
            left_out[f"with another {odd[0].quantity}"] += 1
            continue
        kept.append(sample)
        number += len(records)
    return Agreement(kept, number, left_out)


def pymbusparser_values(module: ModuleType) -> Callable[[Sample], Sequence[object]]:
    """The values of its dict output."""

    def values(sample: Sample) -> list[object]:
        found = module.parse(sample.frame, key=sample.key, include_enrichment=False)
        if found["decode_state"] != "complete":
            raise ValueError(found["decode_state"])
        return [record["value"]["value"] for record in found["records"]]

    return values


def meterbus_values(module: ModuleType, addresses: dict[bytes, bytes]) -> Callable[[Sample], Sequence[object]]:
    """The values of its ``interpreted`` output; its keys go by identification number, for the whole process."""
    for address, key in addresses.items():
        module.add_wmbus_encryption_key(address[5:1:-1], key)

    def values(sample: Sample) -> list[object]:
        return [record["value"] for record in _records(module.load(sample.frame).interpreted)]

    return values


def _records(interpreted: dict[str, object]) -> Sequence[dict[str, object]]:
    """The records, which stand elsewhere for wired frames."""
    body = interpreted.get("body", interpreted)
    assert isinstance(body, dict)
    return body["records"]  # type: ignore[no-any-return]
