"""The table of speeds and ratios (``make bench``).

    run.py            about five minutes, three of them for a simulated city
    run.py --quick    about 20 seconds

All contenders work on the same telegrams, in one thread, in one run; varied data, never one repeated
telegram; the best of several rounds in processor time. Ratios are asserted, absolute times never:
they are those of the machine. A package that is not installed is left out with a line that says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import others, reference  # noqa: E402
from benchmarks.city import run_city  # noqa: E402
from benchmarks.fleet import FLEETS, Fleet, Sample, devices, fleet, mixed  # noqa: E402
from benchmarks.measure import Contender, Result, Table, child_seconds, measure  # noqa: E402
from openmetering import Decoder, KeyRing, Telegram, answer_json, encode  # noqa: E402
from openmetering.telegram.model import TOLERANT  # noqa: E402
from openmetering.telegram.reading import Reader  # noqa: E402
from openmetering.telegram.reassembly import Reassembler  # noqa: E402
from openmetering.wire.crc import POLYNOMIAL, crc16  # noqa: E402

DICT_RATIO, JSON_RATIO, PLAN_RATIO = 10, 3, 5
MEMORY_GROWTH = 1.1
FORBIDDEN = ("numpy", "asyncio", "sqlite3")
METERS = 1024


class Scale(msgspec.Struct, frozen=True):
    """How much is measured."""

    rounds: int
    per_meter: int  #: telegrams of each of the 1024 meters
    compared: int  #: telegrams on which other packages are timed
    slow: int  #: the same for pyMeterBus
    side_meters: int  #: meters of the other fleets
    passes: int  #: how often the file of JSON lines goes through the program
    city: tuple[int, int, int]  #: meters, gateways, virtual hours


FULL = Scale(rounds=9, per_meter=128, compared=24576, slow=4096, side_meters=256, passes=2, city=(10_000, 40, 24))
QUICK = Scale(rounds=4, per_meter=50, compared=6144, slow=768, side_meters=64, passes=4, city=(1000, 4, 2))


# -- what is timed -----------------------------------------------------------------------------------


def on_demand(decoder: Decoder, samples: Sequence[Sample]) -> Callable[[], None]:
    """Decode; no record is asked for."""

    def run() -> None:
        for frame, _ in samples:
            decoder.examine(frame)

    return run


def with_records(decoder: Decoder, samples: Sequence[Sample]) -> Callable[[], None]:
    """Decode and make all records."""

    def run() -> None:
        for frame, _ in samples:
            decoder.examine(frame).records  # noqa: B018 - the property makes them

    return run


def with_values(decoder: Decoder, samples: Sequence[Sample]) -> Callable[[], None]:
    """Decode, make all records, and the Decimal of each."""

    def run() -> None:
        for frame, _ in samples:
            for record in decoder.examine(frame).records:
                record.value  # noqa: B018

    return run


def to_json(decoder: Decoder, samples: Sequence[Sample]) -> Callable[[], None]:
    """Decode, then write the JSON of the telegram."""

    def run() -> None:
        for frame, _ in samples:
            answer_json(decoder.examine(frame))

    return run


def straight_to_json(decoder: Decoder, samples: Sequence[Sample]) -> Callable[[], None]:
    """Octets to JSON without the objects in between."""

    def run() -> None:
        for frame, _ in samples:
            decoder.answer(frame)

    return run


def first_sight(ring: KeyRing, samples: Sequence[Sample]) -> Callable[[], None]:
    """Decode with a decoder that has heard none of the meters."""

    def run() -> None:
        decoder = Decoder(ring)
        for frame, _ in samples:
            decoder.examine(frame).records  # noqa: B018

    return run


def dicts_of(library: ModuleType, samples: Sequence[Sample], *, keyed: bool = True) -> Callable[[], None]:
    """pymbusparser's dict output, without its look-up of manufacturers."""
    parse, rows = library.parse, [(frame, key if keyed else None) for frame, key in samples]

    def run() -> None:
        for frame, key in rows:
            parse(frame, key=key, include_enrichment=False)

    return run


def by_reference(ring: KeyRing, samples: Sequence[Sample]) -> Callable[[], None]:
    """The straightforward reference."""
    keys = address_keys(ring)

    def run() -> None:
        for frame, _ in samples:
            reference.decode(frame, keys)

    return run


def warmed(ring: KeyRing, samples: Sequence[Sample]) -> Decoder:
    """A decoder that has heard every meter of the samples."""
    decoder = Decoder(ring)
    for sample in samples:
        decoder.examine(sample.frame)
        decoder.answer(sample.frame)
    return decoder


def general(ring: KeyRing, samples: Sequence[Sample]) -> Callable[[], None]:
    """The general reader alone: the definition, without plans."""
    reader = Reader(ring, TOLERANT, Decoder(ring).formats, Reassembler(), None)

    def run() -> None:
        for frame, _ in samples:
            reader.read(frame).records  # noqa: B018

    return run


def address_keys(ring: KeyRing) -> dict[bytes, bytes]:
    """Keys by address, for contenders that want a mapping."""
    return {pattern.octets: key.octets for pattern, key in ring}


# -- the parts of the table ----------------------------------------------------------------------------


def decoding(table: Table, part: Fleet, scale: Scale, library: ModuleType | None) -> None:
    """The encrypted mixed fleet, object output."""
    samples = part.samples[: scale.compared]
    if library is not None:
        found = others.agree(samples, Decoder(part.ring), others.pymbusparser_values(library))
        table.note(f"pymbusparser: {found}")
        samples = found.samples
    count, decoder = len(samples), warmed(part.ring, samples)
    contenders = [
        Contender("reference: dataclass per part, new cipher, no caches", count, by_reference(part.ring, samples)),
        Contender("general reader, all records", count, general(part.ring, samples)),
        Contender("plan, records on demand (none asked for)", count, on_demand(decoder, samples)),
        Contender("plan, all records", count, with_records(decoder, samples)),
        Contender("plan, all records and all Decimals", count, with_values(decoder, samples)),
        Contender("plan, all records, a new decoder (first sight included)", count, first_sight(part.ring, samples)),
    ]
    if library is not None:
        contenders.append(Contender("pymbusparser dict", count, dicts_of(library, samples)))
    best = measure(contenders, scale.rounds)
    slow, plan, dicts = best[contenders[0].name], best["plan, all records"], best.get("pymbusparser dict")
    table.head(
        f"encrypted mixed fleet: mode 5, {part.meters} meters, 16 formats, {_records_each(samples, decoder):.1f} records each"
    )
    for name, result in best.items():
        ratios = [f"{slow.microseconds / result.microseconds:.1f} x reference"] if result is not slow else []
        if dicts is not None and name.startswith("plan"):
            ratios.append(table.versus(result, dicts))
        table.row(result, ", ".join(ratios))
    if dicts is not None:
        table.demand("all records, against pymbusparser dict output", dicts.microseconds / plan.microseconds, DICT_RATIO)
    table.demand("plan against the straightforward reference", slow.microseconds / plan.microseconds, PLAN_RATIO)
    table.note(f"plan against the general reader: {table.versus(plan, best['general reader, all records'])}")


def _records_each(samples: Sequence[Sample], decoder: Decoder) -> float:
    some = list(islice(samples, METERS))
    return sum(len(decoder.examine(sample.frame).records) for sample in some) / len(some)


def json_output(table: Table, part: Fleet, scale: Scale, library: ModuleType | None) -> None:
    """The same fleet, JSON output; the program end to end."""
    samples = part.samples[: scale.compared]
    count, decoder = len(samples), warmed(part.ring, samples)
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.jsonl"), Path(folder, "many.jsonl")
        _write_lines(few, samples, 1)
        lines = _write_lines(many, part.samples, scale.passes)
        contenders = [
            Contender("examine and answer_json", count, to_json(decoder, samples)),
            Contender("Decoder.answer: octets to JSON in one step", count, straight_to_json(decoder, samples)),
        ]
        if library is not None:
            render = library.render
            contenders.append(
                Contender("pymbusparser JSON, called in a loop over the lines", count, lambda: _render_lines(few, render))
            )
        best = measure(contenders, scale.rounds)
        whole = Result("oms decode --format jsonl, end to end", _end_to_end(many, scale.rounds) / lines * 1e6)
    rendered = best.get("pymbusparser JSON, called in a loop over the lines")
    table.head("the same fleet to JSON")
    for result in (*best.values(), whole):
        compared = rendered is not None and result is not rendered
        table.row(
            result, f"{rendered.microseconds / result.microseconds:.1f} x pymbusparser JSON" if compared and rendered else ""
        )
    passes = "" if scale.passes == 1 else f" ({len(part.samples)} telegrams, {scale.passes} times over)"
    table.note(f"end to end: {lines} lines{passes}, start of the process and first sight of {part.meters} meters included")
    if rendered is not None:
        table.demand(
            "oms decode --format jsonl, against pymbusparser JSON", rendered.microseconds / whole.microseconds, JSON_RATIO
        )


class _Line(msgspec.Struct):
    telegram: str
    key: str


def _write_lines(path: Path, samples: Sequence[Sample], passes: int) -> int:
    with path.open("w", encoding="ascii") as file:
        for _ in range(passes):
            for frame, key in samples:
                file.write(json.dumps({"telegram": frame.hex().upper(), "key": key.hex().upper()}) + "\n")
    return len(samples) * passes


def _render_lines(path: Path, render: Callable[..., str]) -> None:
    """Read each line and render it: no process to start, nothing to write."""
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as lines:
        for line in lines:
            row = decode(line)
            render(bytes.fromhex(row.telegram), "json", key=bytes.fromhex(row.key), include_enrichment=False)


def _end_to_end(path: Path, rounds: int) -> float:
    program = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]
    command = [*program, "decode", "--input", "jsonl", "--format", "jsonl", "-"]
    return min(child_seconds(command, str(path)) for _ in range(max(2, rounds // 3)))


def other_fleets(table: Table, scale: Scale, library: ModuleType | None) -> None:
    """Other protections and links, records made; the other package where it decodes them."""
    table.head(f"other fleets, {scale.side_meters} meters each, all records")
    for name in FLEETS:
        if name == "mixed":
            continue
        part = fleet(name, scale.side_meters, 16)
        samples, said = part.samples, ""
        if library is not None:
            found = others.agree(samples, Decoder(part.ring), others.pymbusparser_values(library))
            if found.samples:
                samples, said = (
                    found.samples,
                    f"{found.left_out.total()} of {len(part.samples)} left out" if found.left_out else "",
                )
            else:
                said = "pymbusparser decodes none of them"
        contenders = [Contender(name, len(samples), with_records(warmed(part.ring, samples), samples))]
        if library is not None and not said.startswith("pymbusparser"):
            contenders.append(Contender("pymbusparser dict", len(samples), dicts_of(library, samples, keyed=name != "wired")))
        best = measure(contenders, scale.rounds)
        theirs = best.get("pymbusparser dict")
        ratio = "" if theirs is None else table.versus(best[name], theirs)
        table.row(best[name], f"{ratio} ({said})" if ratio and said else ratio or said)


def interpreted(library: ModuleType, samples: Sequence[Sample]) -> Callable[[], None]:
    """pyMeterBus's dict output."""
    load = library.load

    def run() -> None:
        for frame, _ in samples:
            load(frame).interpreted  # noqa: B018

    return run


def against_meterbus(table: Table, scale: Scale, library: ModuleType | None) -> None:
    """pyMeterBus on the telegrams that it reads as we do."""
    if library is None:
        return
    for name in ("mixed", "wired"):
        part = fleet(name, 64, scale.slow // 64)
        values = others.meterbus_values(library, address_keys(part.ring))
        found = others.agree(part.samples, Decoder(part.ring), values)
        samples = found.samples
        contenders = [
            Contender("plan, all records and all Decimals", len(samples), with_values(warmed(part.ring, samples), samples)),
            Contender("pyMeterBus, interpreted", len(samples), interpreted(library, samples)),
        ]
        best = measure(contenders, scale.rounds)
        ours, theirs = best.values()
        table.head(f"against pyMeterBus, {name} fleet")
        table.note(str(found))
        table.row(ours, table.versus(ours, theirs))
        table.row(theirs)


def sealed(pairs: Sequence[tuple[Telegram, KeyRing]]) -> Callable[[], None]:
    """Encode all of them."""

    def run() -> None:
        for telegram, ring in pairs:
            encode(telegram, ring)

    return run


def encoding(table: Table, scale: Scale) -> None:
    """Telegrams to octets."""
    table.head("encode (telegrams composed before)")
    for name in ("plain", "mixed", "profile B", "profile D", "ELL-CTR"):
        made = [
            (device.telegram(number), device.key) for device in devices(scale.side_meters, FLEETS[name]) for number in range(4)
        ]
        rings: dict[bytes, KeyRing] = {key: KeyRing.single(key) for _, key in made}
        title = "mode 5" if name == "mixed" else name
        best = measure([Contender(title, len(made), sealed([(telegram, rings[key]) for telegram, key in made]))], scale.rounds)
        table.row(best[title])


def _crc_octets(octets: bytes, table: Sequence[int]) -> int:
    register = 0
    for octet in octets:
        register = ((register << 8) & 0xFFFF) ^ table[(register >> 8) ^ octet]
    return register ^ 0xFFFF


def checksums(table: Table, part: Fleet, scale: Scale) -> None:
    """The CRC of the link layer on varied blocks."""
    octets = []
    for octet in range(256):
        register = octet << 8
        for _ in range(8):
            register = (register << 1) ^ POLYNOMIAL if register & 0x8000 else register << 1
        octets.append(register & 0xFFFF)
    blocks = [sample.frame[at : at + 16] for sample in part.samples[:4096] for at in (10, 26)]
    assert all(crc16(block) == _crc_octets(block, octets) for block in blocks)
    best = measure(
        [
            Contender("word table", len(blocks), lambda: [crc16(block) for block in blocks]),
            Contender("octet table", len(blocks), lambda: [_crc_octets(block, octets) for block in blocks]),
        ],
        scale.rounds,
    )
    ours, plain = best.values()
    table.head("CRC of a block of 16 octets", "block")
    table.row(ours, table.versus(ours, plain))
    table.row(plain)


def importing(table: Table, scale: Scale) -> None:
    """``import openmetering``: time, and what it must not load."""
    bare = min(child_seconds([sys.executable, "-c", "pass"]) for _ in range(scale.rounds))
    full = min(child_seconds([sys.executable, "-c", "import openmetering"]) for _ in range(scale.rounds))
    table.head("import openmetering", "import")
    table.row(Result("import openmetering (without the start of Python)", (full - bare) * 1e6))
    for name in FORBIDDEN:
        code = f"import openmetering, sys; sys.exit({name!r} in sys.modules)"
        table.demand_that(f"import openmetering does not load {name}", _succeeds([sys.executable, "-c", code]))


def simulating(table: Table, scale: Scale) -> None:
    """A city of meters and gateways in virtual time: events per second, and memory that does not grow."""
    meters, gateways, hours = scale.city
    table.head(f"simulated city: {meters} meters, {gateways} gateways, {hours} virtual hours", "event")
    run = run_city(meters, gateways, hours, table.note)
    table.row(Result("events", run.spent / run.events * 1e6), f"{run.telegrams} telegrams, {run.received} receptions")
    table.demand_that("the account of the channel is balanced", run.balanced)
    day = run.spent * 24 / hours * 10_000 / meters
    table.note(f"a day of 10 000 meters: {day:.0f} s of processor time")
    growth = run.at_the_end / run.first_hour
    table.demand_that(f"memory at the end: {growth:.2f} x that of the first hour, at most 1.1 x", growth <= MEMORY_GROWTH)


def _succeeds(command: Sequence[str]) -> bool:
    try:
        child_seconds(command)
    except Exception:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a demand was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer telegrams and rounds, about 20 seconds")
    scale = QUICK if parser.parse_args(arguments).quick else FULL
    table = Table()
    print(f"Python {sys.version.split()[0]}, one thread, best of {scale.rounds} rounds, processor time")
    library, meterbus = others.load("pymbusparser", "pymbusparser"), others.load("meterbus", "pyMeterBus")
    print(f"making {METERS * scale.per_meter} telegrams of {METERS} meters with our own encoder ...", flush=True)
    part = mixed(METERS, scale.per_meter)
    decoding(table, part, scale, library)
    json_output(table, part, scale, library)
    other_fleets(table, scale, library)
    against_meterbus(table, scale, meterbus)
    encoding(table, scale)
    checksums(table, part, scale)
    importing(table, scale)
    simulating(table, scale)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
