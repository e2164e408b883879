"""Every shared record vector: 420 records of published telegrams and field captures, read and written back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openmetering.codec import tpl
from openmetering.codec.apl.header import FUNCTIONS, RecordHeader
from openmetering.codec.apl.records import encode, make, parse
from openmetering.codec.link import wired
from openmetering.errors import EncodeError
from openmetering.tables import CONTROL_INFORMATION
from openmetering.wire.types import MeterTime, encode_real32
from tests.vector_files import octets, shared

SHORT_NAMES = {"inst": "instantaneous", "max": "maximum", "min": "minimum", "err": "error"}
COMMANDS = ("mbus-command",)
#: the vectors give year 127 as 2027; data type F means every year by it
ERRATA = {"0000E1F1": "*-01-01"}


def in_clear(row):
    """Vectors whose application octets can be reached without a key."""
    expected = row["expected"]
    records = expected and expected.get("records")
    return records and (
        row["kind"] in ("apdu-records", "apdu-compact-profile", *COMMANDS) or "plaintext" in expected or wired_clear(row)
    )


def wired_clear(row):
    return row["kind"] == "mbus-long-frame" and "key" not in row


def apdu(row):
    """The record octets of a vector and whether they are an answer."""
    data = octets(row["hex"])
    if "plaintext" in row["expected"]:
        plain = octets(row["expected"]["plaintext"])
        return plain + (wired_tail(data, plain) if row["kind"] == "mbus-long-frame" else tail_of(row)), True
    if row["kind"] in ("apdu-records", "apdu-compact-profile"):
        return data, not row["name"].startswith(
            ("annexB_B.3_set", "annexB_B.3_get", "annexB_B.4_arl", "annexB_B.4_drl", "annexM_M.38")
        )
    frame, _ = wired.unframe(data)
    entry = CONTROL_INFORMATION[frame.data[0]]
    _, at = tpl.decode(frame.data, 1, frame.data[0], entry.header)
    return frame.data[at:], entry.direction != "down"


def tail_of(row):
    return octets(row["expected"].get("unencrypted_tail", ""))


def wired_tail(data, plain):
    """What stands in the clear behind the encrypted octets of a wired frame."""
    frame, _ = wired.unframe(data)
    _, at = tpl.decode(frame.data, 1, frame.data[0], "long")
    return frame.data[at + len(plain) :]


def check_value(record, expected):
    """The value as stated: decimal text, ISO date, text or octets; None where nothing can be said.

    A date of zeros is no date (the vectors show its parts), and a real has the digits of a single.
    """
    value = record.value
    if expected is None or (record.header.kind == "date" and not any(record.raw)):
        assert value is None
    elif isinstance(expected, dict) and "relative_seconds" in expected:
        assert value.relative == expected["relative_seconds"]
    elif isinstance(expected, dict):
        flags = (value.summer_time, value.leap_year, value.day_of_week or 0, value.week or 0, value.dst_deviation)
        assert value.isoformat() == expected["t"]
        assert flags == (expected["dst"], expected["leap"], expected["dow"], expected["week"], expected["dev"])
    elif isinstance(value, MeterTime):
        stated = ERRATA.get(record.raw.hex().upper(), expected)
        assert value.isoformat().removesuffix("T00:00") == stated.removesuffix("T00:00")
    elif isinstance(value, Decimal):
        if record.header.kind == "real":
            assert encode_real32(value) == encode_real32(Decimal(expected))
        else:
            assert value == Decimal(expected)
        assert Decimal(record.number_text()) == value
    elif isinstance(value, bytes):
        assert value == octets(expected)
    elif record.header.kind == "address":
        assert value.split("-")[1] in expected
    else:
        assert value == expected


def is_date_of_exceed(row):
    """VIFE 6Fh makes the data the end of an exceed; the vectors show such a date as a bare number."""
    return row.get("vife") == ["6f"]


def check_place(record, row):
    header = record.header
    assert header.dib == octets(row["dib"])
    assert header.vib.startswith(octets(row["vib"]))
    assert record.raw == octets(row["raw"])
    assert (FUNCTIONS[header.function], header.storage, header.tariff, header.subunit) == (
        SHORT_NAMES[row["function"]],
        row["storage"],
        row["tariff"],
        row["subunit"],
    )


def check_name(record, row):
    if row["quantity"].startswith("FD reserved"):
        assert not record.header.known
        return
    assert record.quantity == row["quantity"].removesuffix(" (compact profile block)")
    if record.header.kind != "date":  # a date about a power has no watts
        assert record.unit.split("/")[0] == row["unit"].split("/")[0]


@pytest.mark.parametrize("vector", shared("application.json", in_clear))
def test_records(vector):
    data, uplink = apdu(vector)
    parsed = parse(data, uplink=uplink)
    assert (parsed.fault, parsed.rest) == (None, b"")
    rows = vector["expected"]["records"]
    special = [row for row in rows if "special" in row]
    rows = [row for row in rows if "special" not in row]
    assert len(parsed.records) == len(rows)
    for record, row in zip(parsed.records, rows, strict=True):
        check_place(record, row)
        check_name(record, row)
        if record.header.error is None and not is_date_of_exceed(row):
            check_value(record, row["value"])
        assert data[parsed.offsets[parsed.records.index(record)] :].startswith(record.octets())
    for row in special:
        if row["special"] == "7F":
            assert parsed.global_readout
        else:
            assert parsed.manufacturer_data == octets(row["raw"])
            assert parsed.more_follows is (row["special"] == "1F")


@pytest.mark.parametrize("vector", shared("application.json", in_clear))
def test_records_encode_back(vector):
    """The octets come back as they are, and so do those of a record made anew of its value if its coding is canonical."""
    data, uplink = apdu(vector)
    parsed = parse(data, uplink=uplink)
    block = parsed.manufacturer_data
    body = data if block is None else data[: len(data) - len(block) - 1]
    assert encode(parsed.records) == b"".join(
        body[offset : offset + len(record.octets())] for offset, record in zip(parsed.offsets, parsed.records, strict=True)
    )
    assert sum(len(record.octets()) for record in parsed.records) + body_fillers(parsed, body) == len(body)
    for record in parsed.records:
        if record.value is None or record.error is not None:
            continue
        try:
            again = make(record.header, record.value)
        except EncodeError:
            assert isinstance(record.value, MeterTime)
            continue
        assert again.value == record.value or isinstance(record.value, MeterTime)
        if is_canonical(record.header, record.lvar):
            assert again.octets() == record.octets()


def is_canonical(header: RecordHeader, lvar: int | None) -> bool:
    """Fixed lengths and text have one coding; dates may carry flags that say nothing."""
    return header.kind != "date" and (lvar is None or lvar < 0xC0)


def body_fillers(parsed, body):
    """Octets of the body that belong to no record: fillers and a global readout request."""
    covered = set()
    for offset, record in zip(parsed.offsets, parsed.records, strict=True):
        covered.update(range(offset, offset + len(record.octets())))
    left = [body[at] for at in range(len(body)) if at not in covered]
    assert set(left) <= {0x2F, 0x7F}
    return len(left)


@pytest.mark.parametrize("vector", shared("application.json", lambda row: row["kind"] == "apdu-quirk"))
def test_quirks(vector):
    expected = vector["expected"]
    data = octets(vector["hex"])
    parsed = parse(data)
    (record,) = parsed.records
    assert (record.header.text, record.raw, record.header.exponent) == (
        expected["text"],
        octets(expected["raw"]),
        expected["exponent"],
    )
    assert record.value == Decimal(expected["value"])
    assert [warning.code for warning in parsed.warnings] == ["record.text_before_extension"]
    assert make(record.header, record.value).octets() == data


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda row: "data_points" in row.get("expected", {})))
def test_annex_n_data_points(vector):
    """The data points of Annex N stand in its plaintexts and in what follows them in the clear."""
    expected = vector["expected"]
    parsed = parse(octets(expected["plaintext"]))
    assert parsed.fault is None
    rows = expected["data_points"]
    for record, row in zip(parsed.records, rows, strict=False):
        assert (record.header.dib, record.header.vib) == (octets(row["dib"]), octets(row["vib"]))
        lvar = b"" if record.lvar is None else bytes((record.lvar,))
        assert (lvar + record.raw).endswith(octets(row["raw"])) or octets(row["raw"]).endswith(record.raw)
        assert (record.storage, record.tariff) == (row.get("storage", record.storage), row.get("tariff", 0))
    assert 0 < len(parsed.records) <= len(rows)
