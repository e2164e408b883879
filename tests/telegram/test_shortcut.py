"""The short way says what the general reader says, for every telegram of every stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering import Address, Decoder, FormatStore, KeyRing, Record, Telegram, answer_json, encode, examine
from openmetering.codec.ell import CommunicationControl
from openmetering.codec.link.wireless import frame as with_crc
from openmetering.telegram import decoder as decoder_module
from openmetering.telegram.shortcut import Shortcut
from openmetering.wire.types import MeterTime
from tests.telegram.building import (
    ADAPTER,
    KEY,
    KEYS,
    METER,
    OTHER_MAKER,
    WATER,
    WRONG_KEY,
    built,
    codes,
    facts,
    frame,
    general,
    record,
    ring,
    sealed,
    session_telegram,
    water,
    wired,
)

CONTROL = CommunicationControl.build(synchronous=1)


def values(number: int) -> list[Record]:
    """One layout, other values: every converter of a plan is in it."""
    moment = MeterTime("F", 2024, 1 + number % 12, 1 + number % 28, number % 24, number % 60)
    return [
        record("14", Decimal(number * 37 % 10**8) / 100),
        record("FD17", number % 65536, field=2),
        record("06", number * 1000, field=6),
        record("5A", Decimal(number % 2000 - 1000) / 10, field=2),
        record("3B", Decimal(number % 10000) / 1000, field=0x0A),
        record("5B", 20 + number % 50, field=5),
        record("6D", moment, field=4),
        record("78", f"SN{number:06d}", field=0x0D),
        record("7F", number % 100, field=9),
        record("13", Decimal(number % 10**12) / 1000, field=0x0E),
        record("13", Decimal(number % 2**24) / 1000 - 8388, field=3, storage=1),
        record("FD3A", None, field=0),
    ]


def both(decoder: Decoder, octets: bytes, keys: KeyRing | None, key: bytes | None = None) -> Telegram:
    """Ask the decoder with its shortcuts and a fresh one; they must agree in everything."""
    quick, slow = decoder.examine(octets, key), general(octets, keys, key)
    assert facts(quick) == facts(slow)
    return quick


LAYOUTS = {
    "none": {"profile": "none"},
    "A": {"profile": "A"},
    "A adapter": {"profile": "A", "adapter": ADAPTER},
    "A extended link": {"profile": "A", "communication_control": CONTROL},
    "A clear tail": {"profile": "A", "clear": bytes.fromhex("0CFD1078563412")},
    "none maker": {"profile": "none", "clear": bytes.fromhex("0F01020304")},
    "none more": {"profile": "none", "clear": bytes.fromhex("1F")},
    "A maker": {"profile": "A", "clear": bytes.fromhex("0F01020304")},
    "A profile": {"profile": "A", "clear": bytes.fromhex("8C04136500000082046C1F118D04931F087AFE440114023203")},
    "B": {"profile": "B"},
    "D": {"profile": "D"},
}


@pytest.mark.parametrize("frame_format", [None, "A", "B"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_streams(name: str, frame_format: str | None) -> None:
    options = dict(LAYOUTS[name])
    if frame_format is not None:
        options |= {"frame_format": frame_format, "crc": True}
    decoder = Decoder(KEYS)
    shortened = 0
    for number in range(24):
        octets = frame(values(number), counter=number, access_number=number * 11 % 256, status=number % 32, **options)
        telegram = both(decoder, octets, KEYS)
        assert telegram.ok
        assert encode(telegram, KEYS) == octets
        shortened += telegram.plan is not None
    # L = 68h with CRCs looks like the start of a wired frame: read the long way
    repeatable = options["profile"] in ("none", "A") and not (frame_format and octets[0] == 0x68)
    assert shortened == (23 if repeatable else 0)


def test_all_blocks_are_encrypted() -> None:
    """Fifteen in the configuration field: as many blocks as there are."""
    decoder = Decoder(KEYS)
    content = b"\x2f\x2f" + WATER + b"\x2f" * 13
    for access_number in range(3):
        octets = encode(sealed(5, 0xF0, content[:32], access_number=access_number), KEY)
        assert both(decoder, octets, KEYS).ok
    assert decoder.examine(octets).plan is not None


def fleet(count: int) -> list[tuple[Address, bytes]]:
    return [(Address(METER.manufacturer, f"{number:08d}", 1, 7), bytes((number,)) * 16) for number in range(count)]


def test_many_meters() -> None:
    meters = fleet(60)
    keys = ring(*meters)
    decoder = Decoder(keys)
    for turn in range(4):
        for index, (meter, key) in enumerate(meters):
            octets = frame(values(index + turn), meter=meter, keys=key, profile=("A", "none")[index % 2], access_number=turn)
            telegram = decoder.decode(octets)
            assert telegram.address == meter
            assert telegram.records[1].value == index + turn
            assert (telegram.plan is not None) == (turn > 0)


@pytest.mark.parametrize(("name", "limit"), [("_SHORTCUTS", 4), ("_PLANS", 2), ("_KEYS", 2)])
def test_bounded_memory(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full caches are emptied; telegrams stay right."""
    monkeypatch.setattr(decoder_module, name, limit)
    meters = fleet(20)
    keys = ring(*meters)
    decoder = Decoder(keys)
    store = {"_SHORTCUTS": decoder._shortcuts, "_PLANS": decoder._plans, "_KEYS": decoder._given}[name]
    for turn in range(2):
        for index, (meter, key) in enumerate(meters):
            content = values(index)[: 3 + index % 8]
            octets = frame(content, meter=meter, keys=key, profile="A", access_number=turn)
            assert facts(decoder.examine(octets, key)) == facts(general(octets, None, key))
            assert facts(decoder.examine(octets)) == facts(general(octets, keys))
            assert len(store) <= limit
    assert len(store) > 0


def test_several_layouts_of_one_meter() -> None:
    """A meter alternates between messages of the same length; at most four plans are kept."""
    decoder = Decoder(KEYS)
    contents = [[record(vib, Decimal(turn), field=2)] for turn in range(3) for vib in ("5A", "5B", "5C", "5D", "5E", "5F")]
    for content in contents:
        both(decoder, frame(content, profile="A"), KEYS)
    (shortcut,) = decoder._shortcuts.values()
    assert len(shortcut.plans) == 4


def test_a_plan_of_another_length_is_not_taken() -> None:
    first, second = Decoder(), Decoder()
    first.decode(frame())
    second.decode(frame(WATER + b"\x2f"))
    (shortcut,), (other,) = first._shortcuts.values(), second._shortcuts.values()
    assert shortcut.learn(other.plans[0]) is False
    assert len(shortcut.plans) == 1
    assert shortcut.learn(shortcut.plans[0]) is True


def test_other_lengths_of_one_meter() -> None:
    decoder = Decoder(KEYS)
    for count in (2, 5, 2, 5, 8):
        both(decoder, frame(values(count)[:count], profile="A"), KEYS)
    assert len(decoder._shortcuts) == 3


@pytest.mark.parametrize("crc", [False, True])
def test_a_key_given_with_the_telegram(crc: bool) -> None:
    """Shortcuts are bound to the key: the same frame with another key is read anew."""
    decoder = Decoder()
    for number in range(3):
        octets = frame(values(number), profile="A", access_number=number, crc=crc, frame_format="A" if crc else None)
        assert both(decoder, octets, None, KEY).security.state == "decrypted"
        assert both(decoder, octets, None, WRONG_KEY).security.state == "failed"
        assert both(decoder, octets, None).security.state == "key-missing"


def test_two_candidates_leave_no_shortcut() -> None:
    """With several keys the general reader names the one that fitted; a shortcut would have to guess."""
    keys = ring((METER, KEY, 0, 1), (METER, WRONG_KEY, 0, 2))
    decoder = Decoder(keys)
    for number in range(3):
        telegram = both(decoder, frame(values(number), profile="A"), keys)
        assert telegram.security.key_version == 1
        assert telegram.plan is None


def test_key_of_the_adapter() -> None:
    keys = ring((ADAPTER, KEY))
    decoder = Decoder(keys)
    for number in range(3):
        telegram = both(decoder, frame(values(number), profile="A", adapter=ADAPTER, keys=KEY), keys)
        assert telegram.security.state == "decrypted"
    assert telegram.plan is not None


def test_forgetting() -> None:
    """A key that was added later counts after ``forget``."""
    keys = ring((METER, KEY))
    decoder = Decoder(keys)
    for _ in range(2):
        decoder.decode(frame(profile="A"))
    keys.add(METER.link_octets(), WRONG_KEY, 0, 9)
    assert decoder.keys is keys
    decoder.forget()
    assert both(decoder, frame(profile="A"), keys).plan is None


NOT_LEARNED: dict[str, Callable[[], bytes]] = {
    "a warning": lambda: frame(meter=Address.parse("OMG-1234567F-01-07")),
    "a wired frame": lambda: frame(primary=1),
    "no transport header": lambda: bytes.fromhex("1C44A73D78563412010778") + WATER + bytes.fromhex("4C1400000000")[:2],
    "a fault": lambda: frame(WATER + b"\x0c\x14"),
    "an AFL": lambda: frame(profile="B", counter=1),
    "a session": lambda: encode(session_telegram(), KEY),
    "trailing octets": lambda: frame() + b"\x00",
    "a command": lambda: frame(profile="none", adapter=ADAPTER, ci=0x5B, control=0x53),
    "another mode": lambda: encode(sealed(4, 0x20, (b"\x2f\x2f" + WATER).ljust(32, b"\x2f")), KEY),
    "a compact frame": lambda: frame(profile="none", ci=0x7B),
}


@pytest.mark.parametrize("name", NOT_LEARNED)
def test_what_is_never_learned(name: str) -> None:
    decoder = Decoder(KEYS)
    octets = NOT_LEARNED[name]()
    first = decoder.examine(octets)
    assert decoder._shortcuts == {}
    assert facts(decoder.examine(octets)) == facts(first)
    assert decoder.examine(octets).plan is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutations(data: st.DataObject) -> None:
    """After learning, one to three octets of the next telegram are changed: both readers still agree."""
    options = data.draw(st.sampled_from(list(LAYOUTS.values())))
    frame_format = data.draw(st.sampled_from([None, "A", "B"]))
    decoder = Decoder(KEYS)
    for number in range(2):
        plain = frame(values(number), counter=number + 1, access_number=number, **options)
        decoder.examine(plain if frame_format is None else with_crc(plain, frame_format))
    octets = bytearray(frame(values(7), counter=9, access_number=77, **options))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(1, len(octets) - 1))] = data.draw(st.integers(0, 255))
    mutated = bytes(octets)
    if frame_format is not None and data.draw(st.booleans()):
        mutated = with_crc(mutated, frame_format)
    store = FormatStore(decoder.formats.stored())
    assert facts(decoder.examine(mutated)) == facts(Decoder(KEYS, formats=store).examine(mutated))


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(min_size=2, max_size=60), key=st.binary(min_size=16, max_size=16), access=st.integers(0, 255))
def test_any_payload_twice(payload: bytes, key: bytes, access: int) -> None:
    """Whatever the octets behind the header are, the second reading equals the first."""
    decoder = Decoder(key)
    for number in (access, access ^ 0xFF):
        for profile in ("none", "A"):
            octets = frame(payload, keys=key, profile=profile, access_number=number)
            store = FormatStore(decoder.formats.stored())
            assert facts(decoder.examine(octets)) == facts(Decoder(key, formats=store).examine(octets))


def test_maker_blocks_may_differ_in_every_octet() -> None:
    decoder = Decoder()
    for tail in (b"\x0f\x01\x02", b"\x0f\xff\x0f", b"\x0f\x2f\x2f"):
        telegram = both(decoder, frame(WATER + tail), None)
        assert telegram.manufacturer_data == tail[1:]
    assert telegram.plan is not None


def test_records_of_a_plan_are_made_once() -> None:
    decoder = Decoder()
    decoder.decode(frame())
    telegram = decoder.decode(frame(water("2.00")))
    assert telegram.plan is not None
    assert telegram.read_records is None
    assert telegram.records is telegram.records
    assert telegram.records[0].value == Decimal("2.00")


def test_the_same_shortcut_serves_plain_and_checked_frames() -> None:
    """One receiver delivers CRCs, another takes them away: the answer names what came."""
    decoder = Decoder(KEYS)
    plain = frame(values(1), profile="A")
    decoder.decode(plain)
    checked = both(decoder, with_crc(plain), KEYS)
    assert checked.plan is not None
    assert checked.link is not None
    assert (checked.link.frame_format, checked.link.crc) == ("A", True)  # type: ignore[union-attr]
    again = both(decoder, plain, KEYS)
    assert (again.link.frame_format, again.link.crc) == (None, False)  # type: ignore[union-attr]
    assert isinstance(next(iter(decoder._shortcuts.values())), Shortcut)


def test_kept_decoders_of_the_plain_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """``examine`` keeps a decoder per key ring, sees added keys and stays bounded."""
    monkeypatch.setattr(decoder_module, "_DECODERS", 2)
    monkeypatch.setattr(decoder_module, "_decoders", {})
    octets = frame(profile="A")
    rings = [KeyRing() for _ in range(4)]
    for keys in rings:
        assert examine(octets, keys).security.state == "key-missing"
        keys.add(METER.link_octets(), KEY)
        assert examine(octets, keys).security.state == "decrypted"
        assert examine(octets, keys).plan is not None
    assert len(decoder_module._decoders) <= 2
    assert decoder_module.strict(octets, rings[0]).ok


def test_two_makers_with_the_same_number() -> None:
    keys = ring((METER, KEY), (OTHER_MAKER, WRONG_KEY))
    decoder = Decoder(keys)
    for turn in (0, 1):
        for meter, key in ((METER, KEY), (OTHER_MAKER, WRONG_KEY)):
            telegram = both(decoder, frame(values(turn), meter=meter, keys=key, profile="A"), keys)
            assert telegram.address == meter
    assert len(decoder._shortcuts) == 2


def test_wired_telegrams_have_no_shortcut() -> None:
    decoder = Decoder()
    for _ in range(3):
        assert both(decoder, wired(b"\x78" + WATER), None).plan is None
    assert built().payload == WATER


def test_what_is_wrong_with_a_profile_is_said_each_time() -> None:
    """Whether a profile can be expanded depends on its data, which no plan fixes (found by fuzzing)."""
    decoder = Decoder()
    good, bad = ("8C04136500000082046C1F118D04931F08" + control + "FE440114023203" for control in ("7A", "70"))
    for number, text in enumerate((good, good, bad, good, bad)):
        octets = frame([], profile="none", clear=bytes.fromhex(text), access_number=number)
        telegram = both(decoder, octets, None)
        assert (telegram.plan is not None) == (number > 0)
        assert codes(telegram) == (["profile.element"] if text == bad else [])
        assert decoder.answer(octets) == (answer_json(general(octets, None)), None)


def test_shared_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What equal meters share is kept in a table of limited size; without it they still read the same."""
    module = sys.modules["openmetering.telegram.shortcut"]
    monkeypatch.setattr(module, "_shared", {})
    monkeypatch.setattr(module, "_SHARED_LIMIT", 3)
    decoder = Decoder(KEYS)
    for number in range(4):
        assert both(decoder, frame(values(number), profile="A", access_number=number), KEYS).ok
    assert len(module._shared) <= 3  # type: ignore[attr-defined]
