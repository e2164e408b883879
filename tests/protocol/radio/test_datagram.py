"""Headers of datagrams against the frames of Annex N, and frames put together."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.address import Address
from openmetering.codec.link.wireless import strip_crc
from openmetering.errors import DecodeError, OutOfRange
from openmetering.protocol.radio.datagram import RSP_UD, SND_NR, WINDOWS, Datagram, datagram, read
from tests.protocol.fake_endpoint import GATEWAY, METER


def plain(text: str) -> bytes:
    """A frame of format A as printed in Annex N, without its CRCs."""
    return strip_crc(bytes.fromhex(text), "A")


REQUEST = plain("145B3A63665544330A3147398E8412496A78563412010753CF")
CONFIRMATION = plain("19063A63665544330A3190728C84458078563412931533030119000093FD")
RESET = plain("19403A63998877660C319BB78C843280443322119344100A03200000DA8E")
ADAPTER_ACKNOWLEDGE = plain("1900242302618843290777838C80518B44227592934400077D020000A6B5")


def test_request_for_a_fragment_ends_behind_the_extended_link_layer() -> None:
    assert read(REQUEST) == Datagram(
        0x5B, "REQ-UD2", GATEWAY, destination=Address.parse("ZRI-12345678-01-07"), control=0x84, link_access=0x12, ell=True
    )
    assert read(REQUEST).access_number == 0x12


def test_confirmation_of_an_installation() -> None:
    assert read(CONFIRMATION) == Datagram(
        0x06, "CNF-IR", GATEWAY, None, METER, 0x84, link_access=0x45, transport_access=1, status=0x19, ell=True
    )


def test_link_reset() -> None:
    found = read(RESET)
    assert (found.message, found.link_access, found.transport_access, found.status) == ("SND-NKE", 0x32, 3, 0x20)
    assert str(found.application) == "QDS-11223344-10-0A"


def test_acknowledge_of_a_meter() -> None:
    found = read(ADAPTER_ACKNOWLEDGE)
    assert (found.message, found.status, found.transport_access, found.link_access) == ("ACK", 2, 0x7D, 0x51)


def test_without_extended_link_layer_the_transport_number_counts() -> None:
    frame = datagram(0x5B, GATEWAY.link_octets(), b"\x80" + METER.transport_octets() + bytes((9, 0, 0, 0)))
    found = read(frame)
    assert (found.ell, found.link_access, found.access_number) == (False, None, 9)


def test_later_fragments_have_no_transport_layer() -> None:
    first = b"\x90\x09\x01\x78\x25" + bytes(4) + b"\x30\x00" + b"\x5b" + METER.transport_octets() + bytes(4) + b"rest"
    later = b"\x90\x02\x02\x40\x5b" + METER.transport_octets() + b"rest"
    own = METER.link_octets()
    found = read(datagram(0x53, GATEWAY.link_octets(), first, 0x84, 5, own))
    assert (found.application, found.destination, found.transport_access) == (METER, METER, 0)
    found = read(datagram(0x53, GATEWAY.link_octets(), later, 0x84, 6, own))
    assert (found.application, found.destination, found.transport_access) == (None, METER, None)


def test_a_reserved_ci_is_no_transport_header() -> None:
    found = read(datagram(0x53, GATEWAY.link_octets(), b"\xfe\x01\x02", 0x84, 5, METER.link_octets()))
    assert (found.destination, found.application, found.message) == (METER, None, "SND-UD")


@pytest.mark.parametrize("ci", ["81", "8D", "8F", "86", "B8"])
def test_layers_that_no_device_of_oms_reads(ci: str) -> None:
    with pytest.raises(DecodeError):
        read(datagram(0x53, GATEWAY.link_octets(), bytes.fromhex(ci) + bytes(30)))
    with pytest.raises(DecodeError):
        read(datagram(0x53, GATEWAY.link_octets(), bytes.fromhex(ci) + bytes(30), 0x84, 1))


@pytest.mark.parametrize("frame", [REQUEST, CONFIRMATION, RESET, ADAPTER_ACKNOWLEDGE])
def test_truncated_headers(frame: bytes) -> None:
    for size in range(len(frame)):
        with pytest.raises(DecodeError):
            read(frame[:size])
        if 12 <= size < len(frame):
            short = bytes((size - 1,)) + frame[1:size]
            with suppress(DecodeError):
                assert read(short) != read(frame)


@given(st.binary(max_size=80))
def test_whatever_comes_is_read_or_refused(octets: bytes) -> None:
    frame = bytes((9 + len(octets),)) + b"\x53" + GATEWAY.link_octets() + octets
    with suppress(DecodeError):
        assert read(frame).sender == GATEWAY


def test_frames_put_together() -> None:
    sender = METER.link_octets()
    assert datagram(SND_NR, sender, b"\x7a") == bytes.fromhex("0A44") + sender + b"\x7a"
    assert datagram(SND_NR, sender, b"\x7a", 0x20, 0x75) == bytes.fromhex("0D44") + sender + bytes.fromhex("8C20757A")
    named = datagram(RSP_UD, sender, b"\x7a", 0x80, 0x11, GATEWAY.link_octets())
    assert named == bytes.fromhex("1508") + sender + bytes.fromhex("8E8011") + GATEWAY.link_octets() + b"\x7a"
    assert read(named[:-1] + b"\xa0").destination == GATEWAY


def test_frames_that_are_too_long() -> None:
    sender = METER.link_octets()
    assert len(datagram(SND_NR, sender, b"\xa0" + bytes(242), 0x20, 1)) == 256
    with pytest.raises(OutOfRange):
        datagram(SND_NR, sender, b"\xa0" + bytes(243), 0x20, 1)


def test_windows_of_the_modes() -> None:
    assert (WINDOWS["T", False].earliest, WINDOWS["T", False].latest) == (0.002, 0.003)
    assert (WINDOWS["S", False].earliest, WINDOWS["S", False].latest) == (0.003, 0.05)
    assert (WINDOWS["C", False].earliest, WINDOWS["C", False].latest) == (0.9995, 1.0005)
    assert (WINDOWS["C", True].earliest, WINDOWS["C", True].latest) == (0.0995, 0.1005)
    assert WINDOWS["T", True] == WINDOWS["T", False]
