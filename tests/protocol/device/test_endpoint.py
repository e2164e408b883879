"""The transport layer of a device: printed examples, refusals, counters, keys, fragments, telegrams, what it says by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.codec.ell import CommunicationControl
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import unframe
from openmetering.codec.tpl import ConfigurationA
from openmetering.errors import NotRepresentable
from openmetering.protocol.device.build import GivenKey
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import LARGEST_RADIO, LARGEST_WIRED, DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import Endpoint, Taken
from openmetering.security import KeyRing
from openmetering.telegram import Meter, compose, encode
from tests.protocol.device.partner import (
    CONSUMER,
    DEVICE,
    GATEWAY,
    KEYS,
    MASTER,
    WAYS,
    Partner,
    device,
    reborn,
    records,
    secured,
)
from tests.vector_files import read_own

Way = tuple[str, bool]
BREAKER = {"disconnector": {"output_state": False}}
KEY_20 = GivenKey(0x20, bytes.fromhex("08154711") * 4)
CONNECT = "01 FD 1F 01"


def vector(name: str) -> bytes:
    """A printed frame as a machine hears it: without CRCs."""
    link, _ = unframe(bytes.fromhex(read_own(f"spec/annex_n_{name}.toml")["hex"]))
    return replace(link, frame_format=None, crc=False).encode()


def behind_ell(name: str, ell: int = 3) -> bytes:
    """What stands behind an ELL of a printed frame."""
    return unframe(vector(name))[0].data[ell:]


def slot_counter(endpoint: DeviceEndpoint, key_id: int = 0) -> int:
    slot = endpoint.memory.key(key_id)
    assert slot is not None
    return slot.counter


# -- printed examples ----------------------------------------------------------------------------------


def breaker(*keys: GivenKey) -> DeviceEndpoint:
    return device("B", functions=BREAKER, keys=(GivenKey(0, MASTER), *keys), readings=FixedReadings())


def test_n_12_1_state_of_the_breaker() -> None:
    endpoint = breaker(KEY_20)
    endpoint.memory.keys[0].counter = 2738
    assert endpoint.spontaneous("data", 117, 0.0, ell=True) == behind_ell("12_1_breaker")
    assert slot_counter(endpoint) == 2739


def test_n_12_2_command_and_n_12_3_answer() -> None:
    endpoint = breaker(KEY_20)
    taken = endpoint.take(vector("12_2_breaker_command"), 10.0)
    assert (taken.mine, taken.complete, taken.status) == (True, True, 0)
    assert [(event.name, event.value) for event in taken.events] == [("valve", 0), ("executed", 15)]
    assert endpoint.respond(81, 11.0, LARGEST_RADIO) == (behind_ell("12_3_breaker_answer"),)
    assert slot_counter(endpoint) == 2801


def test_n_12_2_command_and_n_12_4_failure() -> None:
    endpoint = breaker(GivenKey(0x24, bytes(16)))
    taken = endpoint.take(vector("12_2_breaker_command"), 10.0)
    assert (taken.status, taken.events) == (2, ())
    assert endpoint.respond(81, 11.0, LARGEST_RADIO) == (behind_ell("12_4_breaker_failure"),)


def test_n_8_2_clock_acknowledged_with_an_error() -> None:
    address = Address.parse("QDS-92752244-00-07")
    key = bytes.fromhex(read_own("spec/annex_n_8_2_clock.toml")["key"])
    meter = device("A", functions={"clock": {"variant": "a"}}, keys=(GivenKey(0, key),), long_header=True)
    endpoint = Partner(meter).endpoint
    config = EndpointConfig(address, "A", long_header=True)
    endpoint = DeviceEndpoint(config, endpoint.memory, endpoint.application, lambda: 0.0)
    assert endpoint.take(vector("8_2_clock"), 5.0).status == 2
    assert endpoint.acknowledge(0x7D, 5.0) == behind_ell("8_2_acknowledge")
    (error,) = endpoint.respond(0x7E, 6.0, LARGEST_RADIO)
    assert error == bytes.fromhex("6F 44227592 9344 00 07 7E 02 0000 15")


def test_n_9_readout_and_error() -> None:
    address = Address.parse("TCH-12345678-8F-08")
    readings = FixedReadings({0: records("036E393000 426C3F1C 436EA05B00")})
    hca = device("A", readings=readings, keys=(GivenKey(0, MASTER),))
    endpoint = DeviceEndpoint(EndpointConfig(address, "A"), hca.memory, hca.application, lambda: 0.0)
    assert endpoint.respond(2, 0.0, LARGEST_RADIO) == (behind_ell("9_hca"),)
    meter = Meter(address, "A", GATEWAY, None, CommunicationControl(0x84))
    frame = encode(compose(meter, b"\0\0", access_number=1, control=0x53, ci=0xC3), KeyRing.single(MASTER))
    assert endpoint.take(frame, 1.0).status == 2
    assert endpoint.respond(2, 2.0, LARGEST_RADIO) == (behind_ell("9_application_error"),)


def test_n_7_installation() -> None:
    address = Address.parse("ELS-12345678-33-03")
    key = bytes.fromhex(read_own("spec/annex_n_7_installation_request.toml")["key"])
    payload = bytes.fromhex(read_own("spec/annex_n_7_installation_request.toml")["expected"]["payload"])
    static = records(payload.strip(b"\x2f").hex())
    gas = device("A", readings=FixedReadings({7: static}), keys=(GivenKey(0, key),))
    endpoint = DeviceEndpoint(EndpointConfig(address, "A"), gas.memory, gas.application, lambda: 0.0)
    assert endpoint.spontaneous("install", 1, 0.0, ell=True) == behind_ell("7_installation_request")


# -- the interface -------------------------------------------------------------------------------------


def test_the_endpoint_is_one() -> None:
    endpoint: Endpoint = device()
    assert endpoint.address == DEVICE
    assert endpoint.deadline is None
    assert endpoint.timeout(0.0) == []
    assert not endpoint.more()


@pytest.mark.parametrize("way", WAYS)
def test_a_readout_copies_the_access_number(way: Way) -> None:
    partner = Partner(device(*way))
    telegram = partner.read()
    assert telegram.error is None
    assert telegram.transport is not None
    assert telegram.transport.access_number == partner.access_number
    assert telegram.transport.ci == (0x72 if way[1] else 0x7A)
    assert [str(record.value) for record in telegram.records] == ["12345.678"]
    assert telegram.security.profile == way[0]


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_adapters_name_their_meter(profile: str) -> None:
    partner = Partner(device(profile, long_header=True))
    telegram = partner.read()
    assert telegram.transport is not None
    assert (telegram.transport.ci, telegram.address) == (0x72, DEVICE)
    assert telegram.error is None


@pytest.mark.parametrize("way", WAYS)
def test_select_static_content(way: Way) -> None:
    partner = Partner(device(*way))
    assert partner.send("application-reset", b"\x70").status == 0
    telegram = partner.read()
    assert telegram.transport is not None
    assert telegram.transport.content == 2
    assert telegram.records[0].quantity == "fabrication no"
    partner.send("application-reset", b"")
    assert partner.read().records[0].quantity == "volume"


def test_a_wired_select_without_header() -> None:
    endpoint = device("none", True)
    assert endpoint.take(WiredFrame.long(0x53, 5, b"\x50\x70").encode(), 0.0) == Taken(True, True, 0)
    assert Partner(endpoint).read().records[0].quantity == "fabrication no"
    assert endpoint.take(bytes.fromhex("68 03 03 68 53 FD 50 A0 16"), 0.0).mine
    assert Partner(endpoint).read().records[0].quantity == "volume"


@pytest.mark.parametrize("ci", [0x50, 0x51])
@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_commands_without_header_are_no_use_with_a_profile(profile: str, ci: int) -> None:
    partner = Partner(device(profile, True))
    assert partner.endpoint.take(WiredFrame.long(0x53, 5, bytes((ci, 0x7F))).encode(), 0.0).status == 2
    assert partner.error() == 0x22


def test_worked_frames_of_the_conformance_test_on_the_wire() -> None:
    """Application-layer reference 6.12: function 32 by CI 51, and its answer."""
    address = Address.parse("ELS-12345678-33-03")
    given = device("none", True, functions={"conformance": {}})
    endpoint = DeviceEndpoint(EndpointConfig(address, "none", True), given.memory, given.application, lambda: 0.0)
    assert endpoint.take(bytes.fromhex("68 09 09 68 53 FD 51 02 FD 9F 1D 40 32 CE 16"), 0.0).status == 0
    (answer,) = endpoint.respond(0x2B, 0.0, LARGEST_WIRED)
    assert WiredFrame.long(0x08, 0xFD, answer).encode() == bytes.fromhex(
        "68 17 17 68 08 FD 72 78 56 34 12 93 15 33 03 2B 00 00 00 04 FD 9F 1D 40 32 42 42 47 16"
    )
    assert endpoint.take(bytes.fromhex("68 09 09 68 53 FD 51 02 FD 9F 1D 40 30 CC 16"), 0.0).status == 2
    assert endpoint.respond(0x2C, 0.0, LARGEST_WIRED) == (b"\x70\x15",)


# -- whose frame ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_frames_for_others_are_not_ours(way: Way) -> None:
    other = Partner(device(*way))
    frame = bytearray(other.frame("application-reset", b"\x70"))
    strange = Partner(device(*way))
    at = bytes(frame).rindex(DEVICE.transport_octets()[:4])
    frame[at] ^= 1
    if way[1]:
        frame[-2] = sum(frame[4:-2]) & 0xFF
    assert not strange.endpoint.take(bytes(frame), 0.0).mine


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "E5",
        "10 7B 05 80 16",
        "68 03 03 68 53 FD 50 A1 16",
        "19 00 24",
        "00" * 30,
    ],
)
@pytest.mark.parametrize("wired", [False, True])
def test_what_is_no_frame_is_nobodys(octets: str, wired: bool) -> None:
    assert not device("none" if wired else "B", wired).take(bytes.fromhex(octets), 0.0).mine


def test_the_radio_hears_nothing_wired_and_the_wire_nothing_wireless() -> None:
    assert not device("A").take(Partner(device("A", True)).frame("application-reset", b""), 0.0).mine
    assert not device("A", True).take(Partner(device("A")).frame("application-reset", b""), 0.0).mine


def test_short_headers_downlink_are_for_the_wire_only() -> None:
    """Mode C has only the long header downlink; Annex M lists CI 5A for the wire."""
    meter = Meter(DEVICE, "none", None, 5)
    wired = encode(compose(meter, bytes.fromhex(CONNECT), access_number=1, control=0x53, ci=0x5A))
    endpoint = device("none", True, functions=BREAKER)
    assert endpoint.take(wired, 0.0).status == 2
    assert Partner(endpoint).error() == 0x22  # a function with an application key
    radio = encode(
        compose(Meter(DEVICE, "none", None, None, CommunicationControl(0)), b"", access_number=1, control=0x53, ci=0x57)
    )
    assert not device("B").take(radio, 0.0).mine


def test_answers_of_other_devices_are_not_commands() -> None:
    one = Partner(device("B", long_header=True))
    item = one.endpoint.respond(1, 0.0, LARGEST_RADIO)[0]
    assert not one.endpoint.take(one.link(item), 0.0).mine


def test_a_pure_header_is_heard_and_changes_nothing() -> None:
    one = Partner(device("B"))
    one.send("application-reset", b"\x70")
    frame = encode(
        compose(Meter(DEVICE, "none", GATEWAY, None, CommunicationControl(0x84)), b"", access_number=7, control=0x40, ci=0x80)
    )
    assert one.endpoint.take(frame, 0.0) == Taken(True)
    assert one.read().records[0].quantity == "fabrication no"


@settings(max_examples=150, deadline=None)
@given(octets=st.binary(max_size=80), way=st.sampled_from(WAYS))
def test_whatever_octets_come_nothing_is_raised(octets: bytes, way: Way) -> None:
    device(*way, functions=BREAKER).take(octets, 0.0)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), way=st.sampled_from(WAYS))
def test_changed_commands_are_never_executed_without_proof(data: st.DataObject, way: Way) -> None:
    partner = Partner(device(*way, functions=BREAKER))
    frame = bytearray(partner.frame("sitp", secured(0x20, 15, "01 FD 1F 00")))
    payload_at = bytes(frame).rindex(DEVICE.transport_octets()) + 12
    at = data.draw(st.integers(payload_at, len(frame) - (3 if way[1] else 1)))
    frame[at] ^= data.draw(st.integers(1, 255))
    if way[1]:
        frame[-2] = sum(frame[4:-2]) & 0xFF
    partner.endpoint.take(bytes(frame), 0.0)
    if way[0] in ("B", "D"):
        assert partner.endpoint.memory.executed == 0


# -- refusals of the transport layer -------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", ["none", "A", "B", "D"])
def test_another_profile_is_error_22(way: Way, other: str) -> None:
    partner = Partner(device(*way, functions=BREAKER))
    if other == way[0]:
        return
    stranger = Partner(device(other, way[1]))  # builds frames of the other profile
    assert partner.endpoint.take(stranger.frame("m-bus", CONNECT), 0.0).status == 2
    assert partner.error() == 0x22


@pytest.mark.parametrize("mode", [1, 8, 9, 13, 15, 6])
def test_an_unknown_mode_is_error_21(mode: int) -> None:
    partner = Partner(device("B", functions=BREAKER))
    frame = bytearray(
        encode(compose(Meter(DEVICE, "none", GATEWAY, None, CommunicationControl(0)), bytes(32), ci=0x5B, control=0x53))
    )
    at = bytes(frame).rindex(DEVICE.transport_octets()) + 10
    frame[at + 1] = mode
    assert partner.endpoint.take(bytes(frame), 0.0).status == 2
    assert partner.error() == 0x21


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] != "none"])
def test_a_wrong_key_is_error_20(way: Way) -> None:
    partner = Partner(device(*way, functions=BREAKER))
    thief = Partner(partner.endpoint, key=bytes(16))
    assert thief.send("m-bus", CONNECT).status == 2
    assert partner.error() == 0x20
    assert slot_counter(partner.endpoint) == 0 if way[0] == "A" else slot_counter(partner.endpoint) <= 1


@pytest.mark.parametrize("way", [("B", False), ("B", True), ("D", False)])
def test_a_key_that_does_not_exist_is_error_20(way: Way) -> None:
    partner = Partner(device(*way))
    assert partner.send("application-reset", b"\x70", key_id=3).status == 2
    assert partner.error() == 0x20
    assert partner.send("application-reset", b"\x70", version=9).status == 2
    assert partner.error() == 0x20


def test_profile_b_without_afl_or_mac_is_error_17() -> None:
    partner = Partner(device("B", functions=BREAKER))
    frame = partner.frame("m-bus", CONNECT)
    afl = bytes(frame).index(b"\x90\x0f\x00\x2c\x25")
    cut = frame[:afl] + frame[afl + 17 :]
    assert partner.endpoint.take(bytes((len(cut) - 1,)) + cut[1:], 0.0).status == 2
    assert partner.error() == 0x17
    without_mac = frame[:afl] + bytes.fromhex("90 07 00 28 25") + frame[afl + 5 : afl + 9] + frame[afl + 17 :]
    assert partner.endpoint.take(bytes((len(without_mac) - 1,)) + without_mac[1:], 0.0).status == 2
    assert partner.error() == 0x17


def test_a_broken_afl_is_error_17_and_a_reserved_ci_error_01() -> None:
    partner = Partner(device("B"))
    head = b"\x53" + GATEWAY.link_octets() + b"\x8e\x84\x01" + DEVICE.link_octets()
    for body, code in ((b"\x90\x01\x00", 0x17), (b"\x90\x02\x05\x00" + b"\x5b", 0x17), (b"\xd5\x00", 0x01)):
        frame = head + body
        partner.endpoint.take(bytes((len(frame),)) + frame, 0.0)
        assert partner.error() == code, body.hex()


def test_a_ci_behind_the_link_of_another_protocol() -> None:
    """What names nobody is answered by nobody: no ELL, an ELL without destination, another destination."""
    other = Address.parse("XYZ-00000001-55-20")
    for ell in (b"", b"\x8c\x84\x01", b"\x8e\x84\x01" + other.link_octets()):
        frame = b"\x53" + GATEWAY.link_octets() + ell + b"\xd5\x00"
        assert not device("B").take(bytes((len(frame),)) + frame, 0.0).mine


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_octets_in_the_clear_behind_the_encrypted_ones_are_error_22(profile: str) -> None:
    """Otherwise commands could be appended to a recorded frame of profile A."""
    partner = Partner(device(profile, functions=BREAKER))
    meter = Meter(DEVICE, profile, GATEWAY, None, CommunicationControl(0x84))
    clear = bytes.fromhex("02 FD 9F 1D 40 32")
    frame = encode(
        compose(meter, b"\x2f\x2f", access_number=1, counter=1, control=0x53, ci=0x5B, clear=clear), KeyRing.single(MASTER)
    )
    assert partner.endpoint.take(frame, 0.0).status == 2
    assert partner.error() == 0x22


def test_a_mode_that_encrypts_nothing_is_error_22() -> None:
    partner = Partner(device("A", functions=BREAKER))
    frame = bytearray(
        encode(
            compose(Meter(DEVICE, "none", GATEWAY, None, CommunicationControl(0)), bytes.fromhex(CONNECT), ci=0x5B, control=0x53)
        )
    )
    at = bytes(frame).rindex(DEVICE.transport_octets()) + 10
    frame[at : at + 2] = int(ConfigurationA.build(mode=5)).to_bytes(2, "little")
    assert partner.endpoint.take(bytes(frame), 0.0).status == 2
    assert partner.error() == 0x22


@pytest.mark.parametrize("way", [("B", False), ("D", False), ("B", True), ("D", True)])
def test_counters(way: Way) -> None:
    """Accepted only above CM, taken over when larger, one more for each answer; never back."""
    partner = Partner(device(*way))
    partner.send("application-reset", b"\x70", counter=40)
    assert slot_counter(partner.endpoint) == 40
    assert partner.read().security.counter == 41
    for counter in (40, 41, 0):
        assert partner.send("application-reset", b"\x70", counter=counter).status == 2
        assert partner.error() == 0x20
        assert slot_counter(partner.endpoint) == 41
    assert partner.send("application-reset", b"\x70", counter=42).status == 0
    assert partner.read().security.counter == 43
    again = reborn(partner)
    assert again.send("application-reset", b"\x70", counter=43).status == 2
    assert again.send("application-reset", b"\x70", counter=44).status == 0


@pytest.mark.parametrize("way", [("B", False), ("D", True)])
def test_a_used_up_counter_says_nothing_protected_any_more(way: Way) -> None:
    partner = Partner(device(*way))
    partner.endpoint.memory.keys[0].counter = 0xFFFFFFFE
    assert partner.read().security.counter == 0xFFFFFFFF
    assert partner.error() == 0x20
    if not way[1]:
        assert partner.endpoint.spontaneous("data", 1, 0.0, ell=True) == bytes.fromhex("8A 01 00 00 00")
    assert slot_counter(partner.endpoint) == 0xFFFFFFFF


def test_a_device_without_its_key() -> None:
    endpoint = device("B", keys=())
    partner = Partner(endpoint)
    assert partner.error() == 0x20
    assert endpoint.spontaneous("data", 9, 0.0, ell=True) == bytes.fromhex("8A 09 00 00 00")
    endpoint.memory.alarm = 1
    assert endpoint.alarm(0.0, 9) == bytes.fromhex("8A 09 00 00 00")


def test_errors_are_cleared_by_255_seconds() -> None:
    partner = Partner(device("B"))
    partner.send("m-bus", "01 FD 21 00")
    assert partner.error() == 0x11
    deadline = partner.endpoint.deadline
    assert deadline == partner.now + 255
    partner.endpoint.timeout(deadline)
    assert partner.error() is None


# -- keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [("B", False), ("B", True), ("D", False), ("D", True)])
def test_key_information_is_shown_until_a_command_comes_without(way: Way) -> None:
    keys = (GivenKey(0, MASTER, 5),)
    partner = Partner(device(*way, keys=keys))
    assert _version(partner) is None
    partner.send("application-reset", b"\x70", version=5)
    assert _version(partner) == 5
    assert _version(partner) == 5
    partner.endpoint.end_session(0.0)
    assert _version(partner) == 5
    partner.send("application-reset", b"\x70")
    assert _version(partner) is None


def _version(partner: Partner) -> int | None:
    telegram = partner.read()
    assert telegram.error is None
    if telegram.afl is not None and telegram.afl.key_information is not None:
        return int(telegram.afl.key_information.key_version)
    assert telegram.transport is not None
    return telegram.transport.key_version


def test_key_information_is_volatile() -> None:
    partner = Partner(device("B", keys=(GivenKey(0, MASTER, 5),)))
    partner.send("application-reset", b"\x70", version=5)
    partner.endpoint.power_up(0.0)
    assert _version(partner) is None


@pytest.mark.parametrize("way", [("B", False), ("D", False), ("A", False)])
def test_a_new_master_key_is_used_at_once(way: Way) -> None:
    partner = Partner(device(*way))
    partner.send("application-reset", b"\x70")
    old, new = partner.endpoint.memory.keys[0], bytes(range(100, 116))
    old.active = False
    partner.endpoint.memory.keys.append(type(old)(0, 1, new, True))
    partner.key = new
    assert partner.read().error is None
    assert partner.send("application-reset", b"\x70").status == 0
    thief = Partner(partner.endpoint)
    thief.counter = partner.counter + 5
    assert thief.send("application-reset", b"\x70").status == 2


@pytest.mark.parametrize("way", [("B", False), ("D", False), ("B", True)])
def test_each_communication_key_has_its_counter(way: Way) -> None:
    endpoint = device(*way, key_ids=(0, 8))
    display = Partner(endpoint, key=CONSUMER)
    display.send("application-reset", b"\x70", key_id=8, counter=7)
    telegram = display.read()
    assert (telegram.security.key_id, telegram.security.counter) == (None, 8)
    assert telegram.transport is not None
    assert telegram.transport.key_id == 8
    assert (slot_counter(endpoint), slot_counter(endpoint, 8)) == (0, 8)
    head_end = Partner(endpoint)
    head_end.send("application-reset", b"\x70", counter=1)
    assert head_end.read().transport.key_id == 0  # type: ignore[union-attr]
    assert slot_counter(endpoint, 8) == 8


# -- fragments and telegrams ---------------------------------------------------------------------------


def many(count: int) -> tuple[Record, ...]:
    return tuple(record for number in range(count) for record in records(f"0C 13 {number:02d} 00 00 00"))


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_long_answers_go_in_fragments_on_the_radio(profile: str) -> None:
    partner = Partner(device(profile, readings=FixedReadings({0: many(60)})))
    items = partner.endpoint.respond(9, 0.0, 100)
    assert len(items) > 3
    assert all(len(item) <= 100 for item in items)
    telegram = partner.open(items)
    assert telegram.error is None
    assert len(telegram.records) == 60
    assert not partner.endpoint.more()


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_long_readouts_go_in_telegrams_on_the_wire(profile: str) -> None:
    partner = Partner(device(profile, True, readings=FixedReadings({0: many(60)})))
    endpoint = partner.endpoint
    found: list[str] = []
    parts = 0
    while True:
        telegram = partner.read(100)
        assert telegram.error is None
        found += [str(record.value) for record in telegram.records]
        parts += 1
        assert telegram.more_follows is endpoint.more()
        if not endpoint.more():
            break
        endpoint.advance()
    assert parts >= 4
    assert found == [str(record.value) for record in many(60)]
    endpoint.advance()  # behind the last one the readout begins anew
    assert partner.read(100).records[0].value == many(1)[0].value


def test_a_telegram_is_repeated_until_the_partner_has_it() -> None:
    partner = Partner(device("none", True, readings=FixedReadings({0: many(60)})))
    first = partner.read(100).payload
    assert partner.read(100).payload == first
    partner.endpoint.advance()
    second = partner.read(100).payload
    assert second != first
    assert partner.read(100).payload == second


@pytest.mark.parametrize("what", ["session", "command", "power", "error"])
def test_a_readout_begins_anew(what: str) -> None:
    partner = Partner(device("none", True, readings=FixedReadings({0: many(60)})))
    first = partner.read(100).payload
    partner.endpoint.advance()
    steps = {
        "session": lambda: partner.endpoint.end_session(0.0),
        "command": lambda: partner.send("application-reset", b""),
        "power": lambda: partner.endpoint.power_up(0.0),
        "error": lambda: partner.send("clock", b"\x09") and partner.send("application-reset", b""),
    }
    steps[what]()
    assert partner.read(100).payload == first


def test_a_manufacturers_block_stays_with_the_last_records() -> None:
    readings = FixedReadings({0: many(30)})
    readings._octets[0] += b"\x0f" + bytes(20)
    partner = Partner(device("none", True, readings=readings))
    partner.read(100)
    while partner.endpoint.more():
        partner.endpoint.advance()
        telegram = partner.read(100)
    assert telegram.manufacturer_data == bytes(20)


def test_a_record_that_fits_nowhere_is_told_in_fragments() -> None:
    text = records("0D 78 50" + "41" * 80)
    partner = Partner(device("none", True, readings=FixedReadings({0: text + VOLUME_2})))
    items = partner.endpoint.respond(1, 0.0, 60)
    assert len(items) > 1


VOLUME_2 = records("0C 13 00 00 00 00")


@pytest.mark.parametrize("profile", ["none", "B"])
def test_wired_devices_may_use_fragments(profile: str) -> None:
    partner = Partner(device(profile, True, fragments=True, readings=FixedReadings({0: many(60)})))
    items = partner.endpoint.respond(1, 0.0, 100)
    assert len(items) > 3
    assert len(partner.open(items).records) == 60


def test_partial_commands_are_forgotten_with_the_session() -> None:
    partner = Partner(device("B", functions=BREAKER))
    frames = partner.fragments("sitp", secured(0x20, 1, CONNECT), 20)
    for frame in frames[:-1]:
        assert not partner.endpoint.take(frame, 0.0).complete
    partner.endpoint.end_session(0.0)
    taken = partner.endpoint.take(frames[-1], 0.0)
    assert (taken.complete, taken.status) == (True, 2)
    assert partner.error() == 0x17
    assert partner.endpoint.memory.executed == 0


def test_fragments_for_another_device_are_not_ours() -> None:
    partner = Partner(device("B"))
    frame = partner.fragments("application-reset", b"\x70", 20)[0]
    other = Address.parse("XYZ-00000001-55-20")
    assert partner.endpoint.take(frame, 0.0) == Taken(True, complete=False)
    body = frame[1:10] + b"\x8e\x84\x01" + other.link_octets() + frame[21:]
    assert not partner.endpoint.take(bytes((len(body),)) + body, 0.0).mine


@pytest.mark.parametrize("ell", ["", "8C 84 01"])
def test_fragments_without_a_destination_are_followed_from_the_first_one(ell: str) -> None:
    """No ELL, or IDIS: the transport header of the first fragment says who is meant."""
    partner, other = Partner(device("B", functions=BREAKER)), device("B")
    frames = partner.fragments("sitp", secured(0x20, 1, CONNECT), 20)
    assert len(frames) > 2
    bodies = [frame[1:10] + bytes.fromhex(ell) + frame[21:] for frame in frames]
    assert not partner.endpoint.take(bytes((len(bodies[1]),)) + bodies[1], 0.0).mine
    for body in bodies:
        frame = bytes((len(body),)) + body
        assert partner.endpoint.take(frame, 0.0).mine
        stranger = DeviceEndpoint(
            EndpointConfig(Address.parse("XYZ-00000001-55-20"), "B"), other.memory, other.application, lambda: 0.0
        )
        assert not stranger.take(frame, 0.0).mine
    assert partner.endpoint.memory.executed == 1


def test_the_longest_items() -> None:
    assert EndpointConfig(DEVICE).largest == LARGEST_RADIO
    assert EndpointConfig(DEVICE, wired=True).largest == LARGEST_WIRED
    assert EndpointConfig(DEVICE, largest_item=100).largest == 100


def test_fragments_for_an_adapter_name_the_adapter() -> None:
    partner = Partner(device("B", long_header=True, functions=BREAKER))
    frames = partner.fragments("sitp", secured(0x20, 1, CONNECT), 30)
    for frame in frames:
        body = frame[1:10] + b"\x8e\x84\x01" + GATEWAY.link_octets() + frame[21:]
        taken = partner.endpoint.take(bytes((len(body),)) + body, 0.0)
        assert taken.mine
    assert partner.endpoint.memory.executed == 1


def test_the_wire_takes_fragments_of_the_wire_only() -> None:
    radio, wired = Partner(device("B")), Partner(device("B", True))
    assert not wired.endpoint.take(radio.fragments("application-reset", b"\x70", 20)[0], 0.0).mine
    assert not radio.endpoint.take(wired.fragments("application-reset", b"\x70", 20)[0], 0.0).mine


# -- by itself -----------------------------------------------------------------------------------------


def read(endpoint: DeviceEndpoint, octets: bytes, control: int, key: bytes = MASTER) -> object:
    return Partner(endpoint, key=key).open((octets,), control)


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize(("kind", "content", "quantity"), [("data", 0, "volume"), ("static", 2, "fabrication no")])
def test_send_no_reply(profile: str, kind: str, content: int, quantity: str) -> None:
    endpoint = device(profile)
    telegram = Partner(endpoint).open((endpoint.spontaneous(kind, 5, 0.0, ell=True),), 0x44)  # type: ignore[arg-type]
    assert telegram.error is None
    assert telegram.transport is not None
    assert (telegram.transport.content, telegram.transport.access_number) == (content, 5)
    assert telegram.records[0].quantity == quantity


@pytest.mark.parametrize(("kind", "bits"), [("data", 0xA000), ("install", 0x8000), ("static", 0xA000), ("access", 0xA000)])
@pytest.mark.parametrize("profile", ["none", "A"])
def test_link_bits_without_ell(profile: str, kind: str, bits: int) -> None:
    endpoint = device(profile, bidirectional=True)
    octets = endpoint.spontaneous(kind, 5, 0.0, ell=False)  # type: ignore[arg-type]
    assert int.from_bytes(octets[3:5], "little") & 0xE000 == bits
    assert int.from_bytes(device(profile).spontaneous("data", 5, 0.0, ell=False)[3:5], "little") & 0xE000 == 0x2000


@pytest.mark.parametrize("kind", ["access", "demand"])
def test_pure_headers(kind: str) -> None:
    endpoint = device("B", functions={"supervision": {}})
    endpoint.memory.battery_days = 10
    assert endpoint.spontaneous(kind, 5, 0.0, ell=True) == bytes.fromhex("8A 05 04 00 00")  # type: ignore[arg-type]
    assert slot_counter(endpoint) == 0


def test_state_of_a_command_is_not_told_by_itself() -> None:
    partner = Partner(device("B"))
    partner.send("m-bus", "01 FD 21 00")
    assert partner.endpoint.spontaneous("access", 5, 0.0, ell=True)[2] == 0
    assert partner.endpoint.acknowledge(5, 0.0)[2] == 2


@pytest.mark.parametrize("profile", ["B", "D"])
@pytest.mark.parametrize(("key_id", "key"), [(0, MASTER), (8, CONSUMER)])
def test_consumer_information(profile: str, key_id: int, key: bytes) -> None:
    """UC-07a and b: content index 3, under the link key or under KeyID 08."""
    endpoint = device(profile, readings=FixedReadings({18: records("0C 13 01 00 00 00")}), consumer_key_id=key_id)
    telegram = Partner(endpoint, key=key).open((endpoint.spontaneous("consumer", 5, 0.0, ell=True),), 0x44)
    assert telegram.error is None
    assert telegram.transport is not None
    assert (telegram.transport.content, telegram.transport.content_index, telegram.transport.key_id) == (0, 3, key_id)
    assert slot_counter(endpoint, key_id) == 1
    assert slot_counter(endpoint, 8 - key_id) == 0


@pytest.mark.parametrize(("profile", "issue"), [("none", "5.0.1"), ("A", "5.0.1"), ("B", "4.3.3"), ("D", "4.3.3")])
def test_no_consumer_information_without_content_index_or_in_4_3_3(profile: str, issue: str) -> None:
    with pytest.raises(NotRepresentable, match="profile B or D"):
        device(profile, oms_issue=issue).spontaneous("consumer", 5, 0.0, ell=True)


@pytest.mark.parametrize(("issue", "index"), [("5.0.1", 3), ("4.3.3", 0)])
def test_consumer_information_by_select(issue: str, index: int) -> None:
    """UC-07 by App-Select of message application 18, whose coding was agreed; in 4.3.3 it does not exist."""
    endpoint = device("B", applications=(0, 18), codings={"12 00": 18}, oms_issue=issue)
    partner = Partner(endpoint)
    assert partner.send("application-reset", b"\x12\x00").status == 0
    transport = partner.read().transport
    assert transport is not None
    assert transport.content_index == index


def test_installation_tells_application_8_where_there_is_one() -> None:
    endpoint = device("none", readings=FixedReadings({8: records("0C 13 01 00 00 00"), 7: many(1)}))
    assert endpoint.spontaneous("install", 1, 0.0, ell=True)[5:] == bytes.fromhex("0C 13 01 00 00 00")


def test_a_device_with_nothing_to_say_sends_a_filler() -> None:
    endpoint = device("none", readings=FixedReadings())
    assert endpoint.spontaneous("data", 1, 0.0, ell=True) == bytes.fromhex("7A 01 00 00 00 2F")
    assert endpoint.respond(1, 0.0, 100) == (bytes.fromhex("7A 01 00 00 00 2F"),)


# -- alarms --------------------------------------------------------------------------------------------


def test_no_alarm() -> None:
    assert device("B").alarm(0.0) is None


def test_alarm_on_the_wire() -> None:
    endpoint = device("none", True)
    endpoint.memory.alarm = 0x81
    assert endpoint.alarm(0.0) == b"\x71\x81"
    assert endpoint.alarm(1.0) is None


@pytest.mark.parametrize("way", [("A", False), ("B", False), ("D", True)])
def test_alarms_are_protected_like_answers(way: Way) -> None:
    endpoint = device(*way)
    endpoint.memory.alarm, endpoint.memory.transport_access_number = 4, 33
    octets = endpoint.alarm(0.0)
    assert octets is not None
    telegram = Partner(endpoint).open((octets,))
    assert telegram.error is None
    assert telegram.transport is not None
    assert (telegram.transport.ci, telegram.transport.access_number) == (0x75 if way[1] else 0x74, 33)
    assert telegram.application is not None
    assert Partner.octets(telegram)[:1] == b"\x04"


# -- power ---------------------------------------------------------------------------------------------


def test_power_up() -> None:
    partner = Partner(device("B"))
    partner.send("application-reset", b"\x70")
    partner.endpoint.power_up(5.0)
    assert partner.endpoint.memory.transport_access_number == 128
    assert partner.read().records[0].quantity == "volume"
    assert partner.send("application-reset", b"\x70").status == 0


def test_keys_never_show() -> None:
    text = repr(device().config) + repr(KEYS) + repr(device().memory.keys)
    assert MASTER.hex() not in text
    assert repr(MASTER) not in text
