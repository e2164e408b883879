"""What is fuzzed. A target gets a case and must not raise; what it may catch are errors of openmetering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from fuzz.seeds import Case
from openmetering import (
    STRICT,
    TOLERANT,
    CounterLedger,
    Decoder,
    FormatStore,
    OmsError,
    Record,
    RecordFormat,
    Telegram,
    answer,
    answer_json,
    encode,
)
from openmetering.codec.apl.format import CompactFrame, decode_format_frame
from openmetering.codec.apl.known_formats import known_formats
from openmetering.codec.apl.protocols import PROTOCOLS
from openmetering.codec.apl.records import parse
from openmetering.codec.link import wired, wireless
from openmetering.errors import Fault
from openmetering.security import Key, KeyRing
from openmetering.tables import FAULTS
from openmetering.telegram.reading import Reader
from openmetering.telegram.reassembly import Reassembler
from openmetering.transport.raw import RawReader

try:
    from openmetering.telegram.anatomy import anatomy
except ImportError:  # an optional part
    anatomy = None  # type: ignore[assignment]

__all__ = ["TARGETS", "Targets"]

_STEP = 0.05  #: seconds between two telegrams of the stream, so that fragments also time out
_TURN = 3  #: targets for a telegram, besides the stream
_PROTOCOLS = 3  #: of the table of protocols, tried by turns


def _known(fault: Fault | None) -> None:
    """A fault has a code of the list."""
    assert fault is None or fault.code in FAULTS, f"code {fault.code} does not stand in faults.csv"


def _facts(record: Record) -> tuple[object, ...]:
    """A record without the identity of its header, which is another object after the cache of headers was emptied."""
    return record.header.octets, record.header.uplink, record.raw, record.content, record.lvar


def _crc(telegram: Telegram) -> bool:
    """True if CRCs were found.

    A frame without CRCs passes for format B by chance, once in 65 536; the plan of its meter knows better.
    """
    return isinstance(telegram.link, wireless.WirelessFrame) and telegram.link.crc


def _touch(telegram: Telegram) -> None:
    """Ask for everything that is made on demand."""
    for record in telegram.records:
        _ = (record.value, record.error, record.number_text(), str(record), record.octets())
    _ = (telegram.profiles, telegram.address, telegram.ok, str(telegram.address), telegram.security.authenticated)
    _known(telegram.error)
    for warning in telegram.warnings:
        _known(warning)


def _ours(call: Callable[[bytes], object], octets: bytes) -> None:
    """Nothing but errors of openmetering, with a code of the list."""
    try:
        call(octets)
    except OmsError as error:
        _known(error.fault)


class Targets:
    """The decoders under test, with their memory of earlier telegrams; ``renew`` starts them afresh."""

    def __init__(self) -> None:
        self._protocols = list(PROTOCOLS.values())
        self.renew()

    def renew(self) -> None:
        """New decoders, readers and stores: what the old ones kept is free again."""
        self.keyless = Decoder()
        self.stream = Decoder()
        self.strict = Decoder(policy=STRICT, counters=CounterLedger())
        self.one_step = Decoder()
        self.definition = Reader(KeyRing(), TOLERANT, known_formats(), Reassembler(), None)
        self.store = FormatStore()
        self.raw = RawReader()
        self.clock = count()

    def tolerant(self, case: Case) -> None:
        """examine, tolerant, without a key; everything on demand is asked for."""
        _touch(self.keyless.examine(case.octets))

    def with_key(self, case: Case) -> None:
        """examine in a stream, with key, and answer; the plan against the definition."""
        telegram = self.stream.examine(case.octets, case.key, now=next(self.clock) * _STEP)
        text = answer_json(telegram)
        planned = telegram.plan is not None
        _touch(telegram)
        expected = self.definition.read(case.octets, None if case.key is None else Key(case.key, None)) if planned else telegram
        if planned and _crc(expected) == _crc(telegram):
            assert [*map(_facts, expected.records)] == [*map(_facts, telegram.records)], "plan and general reader differ"
            assert text == answer_json(expected), "sheet and general answer differ"

    def what_came_out(self, case: Case) -> None:
        """answer as a type, anatomy and encode of a telegram."""
        telegram = self.keyless.examine(case.octets, case.key)
        answer(telegram)
        if anatomy is not None:
            anatomy(telegram)
        if telegram.error is None:
            _ours(lambda octets: encode(telegram, case.key), b"")

    def strictly(self, case: Case) -> None:
        """examine and decode, strict."""
        _touch(self.strict.examine(case.octets, case.key))
        _ours(lambda octets: self.strict.decode(octets, case.key), case.octets)

    def in_one_step(self, case: Case) -> None:
        """Octets to JSON in one step, twice: learned and applied."""
        for _ in range(2):
            text, fault = self.one_step.answer(case.octets, case.key)
            assert text.startswith(b'{"ok":true' if fault is None else b'{"ok":false')

    def records(self, case: Case) -> None:
        """The record parser on any octets, as answer and as command."""
        for uplink in (True, False):
            parsed = parse(case.octets, uplink=uplink)
            _known(None if parsed.fault is None else parsed.fault.fault)
            assert len(parsed.records) == len(parsed.offsets)

    def formats(self, case: Case) -> None:
        """Format frames, compact frames and stored formats."""
        _ours(RecordFormat.parse, case.octets)
        _ours(lambda octets: self.store.add(decode_format_frame(octets)), case.octets)
        _ours(lambda octets: self.stream.formats.expand(CompactFrame.decode(octets)), case.octets)

    def protocols(self, case: Case) -> None:
        """Applications that are no records, by turns."""
        first = len(case.octets) + case.octets[0] if case.octets else 0
        for place in range(first, first + _PROTOCOLS):
            _ours(self._protocols[place % len(self._protocols)], case.octets)

    def links(self, case: Case) -> None:
        """Frames by name."""
        _ours(wired.unframe, case.octets)
        for kind in (None, "A", "B"):
            _ours(lambda octets, kind=kind: wireless.unframe(octets, kind), case.octets)  # type: ignore[misc]

    def raw_stream(self, case: Case) -> None:
        """A stream of octets without a protocol: frames are found again after garbage."""
        self.raw.feed(case.octets, next(self.clock) * _STEP)

    def turn(self, number: int) -> Iterator[tuple[str, Callable[[Case], None]]]:
        """The targets of the telegram with this number: the stream always, the others by turns."""
        yield "with_key", self.with_key
        for place in range(_TURN):
            name = TARGETS[(number * _TURN + place) % len(TARGETS)]
            yield name, getattr(self, name)

    def all(self) -> Iterator[tuple[str, Callable[[Case], None]]]:
        """Every target."""
        for name in ("with_key", *TARGETS):
            yield name, getattr(self, name)


TARGETS = ("tolerant", "what_came_out", "strictly", "in_one_step", "records", "formats", "protocols", "links", "raw_stream")
