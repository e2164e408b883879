"""Composing telegrams: header fields that follow from meter, profile and content."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openmetering import Meter, NotRepresentable, compose, decode, encode
from openmetering.codec.ell import CommunicationControl
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.telegram.compose import application_octets
from tests.telegram.building import ADAPTER, GATEWAY, KEYS, METER, WATER, built, record, water


def test_application_octets() -> None:
    assert application_octets(water()) == WATER
    assert application_octets(water(), b"\x01\x02") == WATER + b"\x0f\x01\x02"
    assert application_octets([]) == b""


@pytest.mark.parametrize(
    ("profile", "mode", "size"), [("none", 0, len(WATER)), ("A", 5, 32), ("B", 7, 32), ("D", 10, len(WATER))]
)
def test_profiles(profile: str, mode: int, size: int) -> None:
    telegram = built(water(), profile=profile, counter=9)
    transport = telegram.transport
    assert transport is not None
    assert (transport.ci, transport.header, transport.mode) == (0x7A, "short", mode)
    assert len(telegram.payload or b"") == size
    assert (telegram.afl is not None) == (profile == "B")
    assert telegram.security.profile == profile
    assert telegram.uplink
    if profile == "B":
        assert telegram.afl is not None
        assert (int(telegram.afl.message_control or 0), telegram.afl.counter) == (0x25, 9)
        assert transport.extension == b"\x10"
    if profile == "D":
        assert transport.extension == b"\x10\x01\x09\x00\x00\x00"
        assert transport.counter == 9


def test_links() -> None:
    radio, wire, adapter = built(), built(primary=7), built(adapter=ADAPTER)
    assert isinstance(radio.link, WirelessFrame)
    assert isinstance(wire.link, WiredFrame)
    assert isinstance(adapter.link, WirelessFrame)
    assert (radio.link.message, wire.link.message, adapter.link.address) == ("SND-NR", "RSP-UD", ADAPTER)
    assert wire.link.address == 7
    assert [telegram.address for telegram in (radio, wire, adapter)] == [METER] * 3
    assert [telegram.transport.ci for telegram in (radio, wire, adapter) if telegram.transport] == [0x7A, 0x72, 0x72]


def test_link_bits_stand_in_the_extended_link_layer_or_in_the_configuration() -> None:
    control = CommunicationControl.build(bidirectional=1, synchronous=1)
    with_ell = built(profile="A", communication_control=control, access_number=5)
    assert with_ell.ell is not None
    assert (with_ell.ell.ci, with_ell.ell.communication_control, with_ell.ell.access_number) == (0x8C, control, 5)
    assert with_ell.transport is not None
    assert not int(with_ell.transport.configuration) & 0xE000
    without = built(profile="A")
    assert without.transport is not None
    assert int(without.transport.configuration) & 0xE000 == 0x2000
    assert built(profile="A", communication_control=control, primary=1).ell is None


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_content_class_and_index(profile: str) -> None:
    telegram = built(profile=profile, counter=1, content=2, content_index=5)
    transport = telegram.transport
    assert transport is not None
    assert transport.content == 2
    assert transport.content_index == (5 if profile in ("B", "D") else 0)
    assert decode(encode(telegram, KEYS), KEYS).transport == transport


def test_key_version_stands_where_the_profile_puts_it() -> None:
    b = built(profile="B", counter=1, key_id=3, key_version=9)
    assert b.afl is not None
    assert b.afl.key_information is not None
    assert (b.afl.key_information.key_id, b.afl.key_information.key_version) == (3, 9)
    d = built(profile="D", counter=1, key_id=3, key_version=9)
    assert d.transport is not None
    assert (d.transport.key_id, d.transport.key_version) == (3, 9)
    assert built(profile="B", counter=1).afl.key_information is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ci", "header", "uplink"),
    [
        (0x72, "long", True),
        (0x7A, "short", True),
        (0x5A, "short", False),
        (0x5B, "long", False),
        (0x78, "none", True),
        (0x51, "none", False),
    ],
)
def test_the_ci_field_decides_header_and_direction(ci: int, header: str, uplink: bool) -> None:
    telegram = built(ci=ci, control=0x44 if uplink else 0x53, adapter=None if header != "long" else GATEWAY)
    assert telegram.transport is not None
    assert (telegram.transport.header, telegram.uplink) == (header, uplink)
    again = decode(encode(telegram, KEYS), KEYS)
    assert (again.transport, again.uplink, again.payload) == (telegram.transport, uplink, WATER)
    assert encode(again) == encode(telegram)


def test_a_segment_of_dlms_goes_the_way_of_its_control_field() -> None:
    assert built(b"\x01", ci=0x00, control=0x53).uplink is False
    assert built(b"\x01", ci=0x00, control=0x44).uplink is True


def test_more_than_254_octets_under_profile_d() -> None:
    content = b"\x2f" * 0xFF
    telegram = compose(Meter(METER, "D"), content, counter=1)
    assert telegram.transport is not None
    assert int(telegram.transport.configuration) & 0xFF == 0xFF


def test_records_or_octets() -> None:
    assert built(water()).payload == built(WATER).payload
    assert built([record("5A", Decimal("21.5"), field=2)]).payload == bytes.fromhex("025AD700")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"profile": "C"}, "profile"),
        ({"profile": "E"}, "profile"),
        ({"profile": "B"}, "counter"),
        ({"profile": "D"}, "counter"),
        ({"profile": "A", "ci": 0x78}, "ci"),
        ({"ci": 0x20}, "ci"),
    ],
)
def test_refused(options: dict[str, object], field: str) -> None:
    with pytest.raises(NotRepresentable) as caught:
        built(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(("octets", "padding"), [(bytes(14), 0), (bytes(15), 1), (b"\x70", 1)])
def test_a_protocol_without_filler_is_padded_by_the_transport_layer(octets: bytes, padding: int) -> None:
    meter = Meter(METER, "B", adapter=GATEWAY)
    frame = encode(compose(meter, octets, counter=3, control=0x53, ci=0x53), KEYS)
    read = decode(frame, KEYS)
    assert read.transport is not None
    assert getattr(read.transport.configuration, "padding") == padding  # noqa: B009
    assert read.payload is not None
    assert read.payload == b"\x2f\x2f" + octets
    assert encode(read, KEYS) == frame
