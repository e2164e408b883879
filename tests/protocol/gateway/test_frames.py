"""A glance at frames, and the gateway's own frames against the published ones."""

from __future__ import annotations

import pytest

from openmetering import Address
from openmetering.protocol.gateway import frames
from openmetering.protocol.gateway.frames import Glance, glance, level, pure, with_link, without_hop
from tests.protocol.gateway_bench import ADAPTER, GATEWAY, METER, Device, link_frame, repeated

GAS = Address.parse("ELS-12345678-33-03")
RAD = Address.parse("RAD-11223344-03-37")
ZRI = Address.parse("ZRI-12345678-01-07")
QDS = Address.parse("QDS-11223344-10-0A")
ZYX = Address.parse("ZYX-38546816-19-07")


def octets(address: str) -> bytes:
    return Address.parse(address).link_octets()


# -- published -------------------------------------------------------------------------------


def test_n_2_4_request_through_an_adapter() -> None:
    frame = pure(
        frames.REQ_UD2 | frames.FCB, GATEWAY.link_octets(), GAS.link_octets(), 0x75, 0x75, 0x17, destination=RAD.link_octets()
    )
    assert frame.hex().upper() == "217B3A63665544330A318E8475244844332211033780785634129315330375170000"


def test_n_3_3_and_n_3_4_requests_of_fragments() -> None:
    first = pure(0x7B, GATEWAY.link_octets(), ZRI.link_octets(), 0x11, 0x05, 0x17)
    assert first.hex().upper() == "197B3A63665544330A318C84118078563412496A010705170000"
    second = with_link(0x5B, GATEWAY.link_octets(), 0x12, b"", destination=ZRI.link_octets())
    assert second.hex().upper() == "145B3A63665544330A318E8412496A785634120107"


def test_n_7_confirmation_of_an_installation() -> None:
    heard = glance(bytes.fromhex("514693157856341233038C80457A01004805") + bytes(64))
    assert heard is not None
    frame = frames.confirm(GATEWAY.link_octets(), GAS.link_octets(), heard, level(-80.0))
    assert frame.hex().upper() == "19063A63665544330A318C844580785634129315330301190000"


def test_n_10_acknowledge_of_an_access_demand() -> None:
    heard = glance(bytes.fromhex("1948B05C1147150811378CA0518B16685438386B190751000000"))
    assert heard is not None
    assert heard.application == ZYX.link_octets()
    frame = frames.acknowledge(octets("XYZ-12345678-02-31"), ZYX.link_octets(), heard, level(-84.4))
    assert frame.hex().upper() == "19003A637856341202318C80518016685438386B190751170000"


def test_n_11_reset_of_the_link() -> None:
    frame = pure(frames.SND_NKE, octets("XYZ-66778899-0C-31"), QDS.link_octets(), 0x32, 0x03, level(-66))
    assert frame.hex().upper() == "19403A63998877660C318C843280443322119344100A03200000"


# -- glance ----------------------------------------------------------------------------------


def test_all_fields_of_an_answer_through_an_adapter() -> None:
    """Annex N.2.4: ELLA is the gateway, ALA the meter behind the AFL."""
    frame = bytes.fromhex(
        "530824484433221103378E80753A63665544330A31900F002C25B30A0000AF5D74DF73A600D972785634129315330375002007109058475F4BC9"
    )
    assert glance(frame) == Glance(0x08, RAD.link_octets(), 0x80, 0x75, GATEWAY.link_octets(), GAS.link_octets(), 0x75, 0x00)


def test_fragments_behind_the_first_have_no_transport_header() -> None:
    first = bytes.fromhex("3908496A7856341201078E80113A63665544330A319009017865B30A000056007A050050071030539A7CDB1CBCA6")
    later = bytes.fromhex("3908496A7856341201078E80123A63665544330A3190020240C490278E41A48BAD1438BDE38D4D1166305DEFF639")
    assert glance(first) == Glance(0x08, ZRI.link_octets(), 0x80, 0x11, GATEWAY.link_octets(), None, 0x05, 0x00)
    assert glance(later) == Glance(0x08, ZRI.link_octets(), 0x80, 0x12, GATEWAY.link_octets())


@pytest.mark.parametrize("size", range(60))
def test_a_torn_frame_gives_what_is_there(size: int) -> None:
    frame = Device(adapter=ADAPTER).frame(0x08, to=GATEWAY, number=9)[:size]
    found = glance(frame)
    assert (found is None) == (size < 10)
    if found is not None:
        assert found.sender == ADAPTER.link_octets()
        assert found.link_access == (9 if size >= 21 else None)
        assert found.transport_access == (9 if size >= 34 else None)


def test_encrypted_extended_layers_show_their_link_bits_only() -> None:
    assert glance(link_frame(bytes.fromhex("8D2001112233445566") + bytes(9))) == Glance(0x44, METER.link_octets(), 0x20, 1)
    with_destination = bytes.fromhex("8F8002") + GATEWAY.link_octets() + bytes(6)
    assert glance(link_frame(with_destination)) == Glance(0x44, METER.link_octets(), 0x80, 2, GATEWAY.link_octets())


@pytest.mark.parametrize("data", ["", "81", "A0", "78 01", "50", "FF", "8A"])
def test_other_layers_end_the_glance(data: str) -> None:
    assert glance(link_frame(bytes.fromhex(data))) == Glance(0x44, METER.link_octets())


@pytest.mark.parametrize(
    ("configuration", "cc"),
    [(0x0000, 0), (0x8000, 0x80), (0xC000, 0x84), (0xA510, 0xA0), (0x8501, 0x90), (0xC700, 0), (0x2A10, 0)],
)
def test_without_ell_the_configuration_field_has_the_link_bits(configuration: int, cc: int) -> None:
    """Modes 0 and 5: B bit 15, A 14, S 13, H 0; no other mode has them."""
    found = glance(link_frame(bytes((0x7A, 5, 1)) + configuration.to_bytes(2, "little")))
    assert found == Glance(0x44, METER.link_octets(), cc, None, None, None, 5, 1)


@pytest.mark.parametrize(
    ("cc", "bits", "window", "fast"),
    [
        (0x20, 0, False, False),
        (0x04, 1, False, False),
        (0x80, 2, True, False),
        (0x84, 3, True, False),
        (0xC0, 2, True, True),
        (0x90, 2, False, False),
    ],
)
def test_windows_by_the_bits_b_and_a(cc: int, bits: int, window: bool, fast: bool) -> None:
    found = Glance(0x44, METER.link_octets(), cc)
    assert (found.bits, found.window, found.fast) == (bits, window, fast)


@pytest.mark.parametrize("control", [0x44, 0x46, 0x47, 0x48, 0x00, 0x01, 0x08, 0x11, 0x28])
def test_uplink(control: int) -> None:
    found = Glance(control, b"")
    assert found.uplink
    assert found.answer == (control < 0x40)
    assert found.function == control & 0x0F


@pytest.mark.parametrize("control", [0x40, 0x43, 0x53, 0x73, 0x5A, 0x7B, 0x06])
def test_downlink(control: int) -> None:
    assert not Glance(control, b"").uplink
    assert not Glance(control, b"").answer


# -- copies ----------------------------------------------------------------------------------


def test_a_repeated_frame_is_the_same_frame() -> None:
    frame = Device(profile="B").spontaneous()
    assert repeated(frame) != frame
    assert without_hop(repeated(frame)) == without_hop(frame) == frame


@pytest.mark.parametrize(
    ("data", "at"),
    [("7A 05 00 01 05 11", 13), ("7A 05 00 01 00 11", 13), ("72 01 02 03 04 05 06 07 08 05 00 01 05 11", 21)],
)
def test_hop_bit_of_the_configuration_field(data: str, at: int) -> None:
    frame = link_frame(bytes.fromhex(data))
    plain = without_hop(frame)
    assert plain[at] == 0
    assert plain[:at] + frame[at : at + 1] + plain[at + 1 :] == frame


@pytest.mark.parametrize("data", ["", "78", "7A 05", "7A 05 00 01 07 10 11", "A0 01", "B9"])
def test_frames_without_a_hop_bit_stay(data: str) -> None:
    frame = link_frame(bytes.fromhex(data))
    assert without_hop(frame) == frame


@pytest.mark.parametrize(("rssi", "octet"), [(None, 0), (-84.0, 0x17), (-80.0, 0x19), (-66.0, 0x20), (-200.0, 1), (10.0, 63)])
def test_reception_level(rssi: float | None, octet: int) -> None:
    assert level(rssi) == octet


def test_without_an_access_number_there_is_no_ell() -> None:
    frame = pure(0x40, GATEWAY.link_octets(), METER.link_octets(), None, 7, 0)
    assert frame[10] == 0x80
    heard = Glance(0x48, METER.link_octets(), 0x80)
    assert frames.acknowledge(GATEWAY.link_octets(), METER.link_octets(), heard, 0)[-4:] == bytes(4)
    numbered = Glance(0x48, METER.link_octets(), 0x80, 9)
    assert frames.confirm(GATEWAY.link_octets(), METER.link_octets(), numbered, 0)[-4:] == bytes((9, 0, 0, 0))
