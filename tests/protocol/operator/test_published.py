"""Commands of the operator's side octet for octet: Annex N examples, computed containers, ASP01 vectors."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from openmetering.codec.address import Address
from openmetering.codec.apl import clock as clock_codec
from openmetering.codec.apl.security_transfer import SecurityTransfer
from openmetering.codec.ell import CommunicationControl
from openmetering.protocol.exchange import Command
from openmetering.protocol.gateway.partner_security import PartnerSecurity
from openmetering.protocol.operator import adapter, billing, clock, conformance, disconnector, selection, supervision
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.security import KeyRing
from openmetering.telegram import examine
from tests.protocol.operator.scripted import DEVICE, MASTER_KEY, NEW_MASTER_KEY, WRAPPER_KEY, first, head_end, ring
from tests.vector_files import read_own

CASES = [
    ("UC-00 function 32", 0x1F, 16, lambda h: conformance.conformance_test(h, DEVICE, functions=[0x32]),
     "1E00002000321F0010000000000000003001 02FD9F1D4032 FA601ADAFE8BDE10"),
    ("UC-03 disconnect", 0x20, 15, lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected"),
     "1C000020003220000F000000000000003001 01FD1F00 FA41E2812D449B4D"),
    ("UC-03 release in a meter", 0x20, 16, lambda h: disconnector.set_disconnector(h, DEVICE, "released", part_of_meter=True),
     "1D0000200032200010000000000000003001 8140FD1F02 6A1B313076E0B94F"),
    ("UC-04b add 30 s", 0x21, 1, lambda h: clock.adjust_clock(h, DEVICE, 30),
     "1C0000200032210001000000000000003004 011E0000 782E19854907CCBC"),
    ("UC-04b set", 0x22, 1, lambda h: clock.set_clock(h, DEVICE, clock.type_i(dt.datetime(2024, 2, 29, 13, 45, 30))),
     "1F0000200032220001000000000000003004 009E2D8D1D3209 2F93BB437E635030"),
    ("UC-06 clear bit 10", 0x24, 1, lambda h: supervision.clear_flags(h, DEVICE, 1 << 10),
     "1F0000200032240001000000000000003001 02FD979D060004 C5F00EB506108DA9"),
    ("UC-06 clear all", 0x24, 2, lambda h: supervision.clear_all_flags(h, DEVICE),
     "1D0000200032240002000000000000003001 00FD979D07 EC291BA2CF2B3D2C"),
    ("UC-12a due date", 0x26, 1,
     lambda h: billing.set_next_due_date(h, DEVICE, dt.date(2026, 12, 31), today=dt.date(2026, 1, 1)),
     "1E0000200032260001000000000000003001 42ECFE005F3C BCCCE3AFCD1FBD0D"),
    ("UC-12b ownership number", 0x26, 2, lambda h: billing.set_ownership_number(h, DEVICE, "123456"),
     "1F0000200032260002000000000000003001 0BFD9100563412 C9EF686C281272E1"),
    ("UC-14", 0x25, 1, lambda h: selection.select_data(h, DEVICE, 7, 0, add=["DP3!"]),
     "220000200032250001000000000000003001 01FDFD80007000FDBC0C C6A1A30C77EF83A6"),
    ("UC-20a", 0x27, 1, lambda h: adapter.set_meter_address(h, DEVICE, Address.parse("XYZ-12345678-0A-07")),
     "2300002000322700010000002D0000003001 07F900785634123A630A07 EE3DF9D30ED36035"),
    ("UC-20b", 0x27, 2, lambda h: adapter.change_index(h, DEVICE, "VM1!", b"\x0a\x13", "add", Decimal("0.367")),
     "1D0000200032270002000000000000003001 0A93016703 D7A67BB491C876D7"),
]  # fmt: skip


@pytest.mark.parametrize(("key_id", "counter", "make", "octets"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_containers(key_id, counter, make, octets):
    """The computed blocks for the key 08154711 four times; the one of UC-03 is printed in N.12.2."""
    office = head_end()
    office.raise_counter(DEVICE, key_id, 0, counter - 1)
    assert first(make(office)) == bytes.fromhex(octets)


def _sealed(address: Address, profile: str, key: bytes, command: Command, access_number: int, status: int, counter: int):
    keys = KeyRing()
    keys.add(address.link_octets(), key)
    security = PartnerSecurity(keys)
    security.enrol(address, profile)
    for _ in range(counter):
        parts = security.seal(address, command, access_number, status=status)
    return parts


def test_n_12_2_inside_profile_b():
    """The printed frame: the head-end's container, the gateway's transport security."""
    printed = examine(bytes.fromhex(read_own("spec/annex_n_12_2_breaker_command.toml")["hex"]))
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 14)
    payload = first(disconnector.set_disconnector(office, DEVICE, "disconnected"))
    (part,) = _sealed(DEVICE, "B", MASTER_KEY, Command("sitp", payload), 0x51, 0x20, 2800)
    frame = printed.frame
    assert printed.ell is not None
    assert frame.endswith(part) or part in _without_crc(frame)


def _without_crc(frame: bytes) -> bytes:
    """Frame format A without its check sums: 10 octets, then blocks of 16."""
    body = frame[12:]
    return frame[:10] + b"".join(body[at : at + 18][:-2] for at in range(0, len(body), 18))


def test_n_8_2_clock_in_profile_a():
    """Add 110 s, which the device refuses: octets as printed, full form with reserved and verification octets."""
    vector = read_own("spec/annex_n_8_2_clock.toml")
    device = Address.parse("QDS-92752244-00-07")
    payload = first(clock.adjust_by_gateway(110, beyond_limit=True))
    assert payload == bytes.fromhex("013201000000000000002F2F2F2F")
    assert clock_codec.decode(payload).too_large
    (part,) = _sealed(device, "A", bytes.fromhex(vector["key"]), Command("clock", payload), 0x7D, 0, 1)
    assert part in _without_crc(bytes.fromhex(vector["hex"]))


def test_the_frame_carries_the_link_of_the_example():
    """Control field and ELL of N.12.2 are the business of the gateway: CC 84h as sealed here."""
    printed = examine(bytes.fromhex(read_own("spec/annex_n_12_2_breaker_command.toml")["hex"]))
    assert printed.ell.communication_control == CommunicationControl(0x84)


def _wrapping() -> HeadEnd:
    keys = KeyRing()
    keys.add(DEVICE.link_octets(), WRAPPER_KEY, 0x12, 0)
    keys.add(DEVICE.link_octets(), NEW_MASTER_KEY, 0, 1)
    keys.add(DEVICE.link_octets(), MASTER_KEY, 0, 0)
    return HeadEnd(keys)


def test_asp01_transfer():
    block = _wrapping().transfer_block(DEVICE, 0x00, 1)
    assert SecurityTransfer((block,)).encode() == bytes.fromhex(
        "2600000000011200 4D57C4E3A3C0CD78FE974D9D173C4825C9A37D13F44428DFB2D93FE3EFDE6651"
    )


def test_asp01_activation():
    block = _wrapping().activation_block(DEVICE, 0x00, 0, 1)
    assert SecurityTransfer((block,)).encode() == bytes.fromhex(
        "1E00000400031200 992EC0F8E76D4260DC2F3A6756963650F26CD511A049D040"
    )


def test_master_key_transfer_inside_profile_b():
    """The computed SND-UD2: transport header to MAC octet for octet, counter 2802."""
    block = _wrapping().transfer_block(DEVICE, 0x00, 1)
    command = Command("sitp", SecurityTransfer((block,)).encode())
    (part,) = _sealed(DEVICE, "B", MASTER_KEY, command, 0x52, 0x20, 2802)
    assert part == bytes.fromhex(
        "900F002C25F20A000027E3E41F30D2DB6EC3785634123A635520522038071012455101AAF907EC73BF48AC19635FAA5583"
        "97E883879B92AE37D8D2EA8F7D219F40DB021AB299402F11E0D960C6501B"
    )


def test_asp03_and_prepare():
    """Layout P0: a 500 octet image under key 000102.., printed in our notes of the provisional layout."""
    keys = ring()
    keys.add(DEVICE.link_octets(), MASTER_KEY, 0x18, 3)
    office = HeadEnd(keys)
    office.adopt(DEVICE, 0x18, 3)
    mac = office.image_mac(DEVICE, bytes(i % 256 for i in range(500)))
    assert (mac.algorithm, mac.key_id, mac.key_version) == (4, 0x18, 3)
    assert mac.mac == bytes.fromhex("C297583AAF92B47C048580C0A9B12AF3")
