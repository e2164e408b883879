"""The radio device around a real application, with the security of every profile; frames of Annex N octet for octet."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address
from openmetering.codec.link.wireless import strip_crc
from openmetering.protocol.device.endpoint import DeviceEndpoint
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import PowerUp
from openmetering.protocol.radio.datagram import datagram, read
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import ButtonPressed, Demand, DemandEnded, InstallationEnded, RadioConfig, Trigger
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.security import KeyRing
from openmetering.telegram import Decoder, Telegram
from tests.protocol.device.partner import DEVICE, MASTER, Partner
from tests.protocol.device.partner import GATEWAY as PARTNER
from tests.protocol.device.partner import device as endpoint_of
from tests.protocol.fake_endpoint import BODIES, FakeEndpoint
from tests.protocol.radio_bench import REQ_UD2, SND_NKE, SND_UD, SND_UD2, Bench, device, dice, down


def plain(text: str) -> bytes:
    return strip_crc(bytes.fromhex(text), "A")


def opened(frame: bytes, key: bytes = MASTER) -> Telegram:
    telegram = Decoder(KeyRing.single(key)).examine(frame)
    assert telegram.error is None, telegram.error
    return telegram


# -- frames of Annex N ----------------------------------------------------------------------------------------------

DEMAND = plain("1948B05C114715081137B3658CA0518B16685438386B1907510000000EAC")
DEMAND_ACKNOWLEDGED = plain("19003A63785634120231C2BA8C80518016685438386B1907511700005537")
INSTALL = plain(
    "51469315785634123303EFB58C80457A01004805D2B70B3FBC1A1580C85ED79B92CAA1D95341B609EF603AD36294853A72B2067D26BD2B5F"
    "DDC2374D29D0CD08AB4858C5614E8B56E6C2175962DB0F01AA2A62E1A7B12EE4B5F63F440569"
)
CONFIRM = plain("19063A63665544330A3190728C84458078563412931533030119000093FD")


def test_access_demand_and_its_acknowledge_as_in_annex_n_10(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BODIES, "demand", DEMAND[13:])
    bench, machine, _ = device(
        0x4F / 256 + 1e-6, 0.5, endpoint=FakeEndpoint(Address.from_transport(DEMAND, 14)),
        link_address=Address.from_link(DEMAND, 2), plan=SlotPlan(nominal=60.0, ratio=1), demand_interval=1e6,
    )  # fmt: skip
    bench.next_frame()
    bench.post(Demand())
    bench.next_frame()
    assert machine.schedule.access_number == 0x50
    assert bench.next_frame() == DEMAND
    assert bench.hear(DEMAND_ACKNOWLEDGED) == [DemandEnded(True)]


def test_installation_as_in_annex_n_7(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BODIES, "install", INSTALL[13:])
    bench, _, _ = device(0x45 / 256 + 1e-6, 0.5, nominal=1e5)
    bench.post(ButtonPressed())
    assert bench.next_frame() == INSTALL
    assert bench.hear(CONFIRM) == [InstallationEnded(True)]


def test_fragments_and_requests_as_in_annex_n_3() -> None:
    frames = [
        bytes.fromhex(text)
        for text in (
            "3908496A78563412010714648E80113A63665544330A319009017865D438B30A000056007A050050071030539A7C63ABDB1CBCA6D43CB02D76"
            "2A1E1626FEEF0E8E95",
            "3908496A78563412010714648E80123A63665544330A3190020240C4E9B390278E41A48BAD1438BDE38D4D116630215F5DEFF6392B6BE31A9FC"
            "812757BE805B4B186",
            "3B08496A78563412010763428E80133A63665544330A31900A0304BE41AF47ED4C9CC11A7806CC3E0457C725B4B2CD8C9BE7FEF078777187CCE"
            "F8E2AF51CC7299583EF7AC7F2",
        )
    ]
    frames = [strip_crc(frame, "A") for frame in frames]
    meter = Address.from_link(frames[0], 2)
    endpoint = FakeEndpoint(meter)
    endpoint.fragments = tuple(frame[21:] for frame in frames)
    bench, _, _ = device(endpoint=endpoint)
    bench.next_frame()
    request = plain("145B3A63665544330A3147398E8412496A78563412010753CF")
    later = request[:12] + b"\x13" + request[13:]
    for asked, frame in zip((down(REQ_UD2, 0x11, ala=meter, transport=5), request, later), frames, strict=True):
        bench.hear(asked)
        assert bench.next_frame() == frame
    assert endpoint.names("respond") == [("respond", (5, 235))]


# -- a real application ---------------------------------------------------------------------------------------------

CONFORMANCE = "02FD9F1D4032"
ANSWER = bytes.fromhex("04FD9F1D40324242")


def meter(profile: str, memory: DeviceMemory | None = None, **options: object) -> tuple[Bench, RadioDevice, Partner]:
    memory = memory or DeviceMemory()
    endpoint = endpoint_of(profile, functions={"conformance": {}, "adapter": {}}, memory=memory)
    config = RadioConfig(access="short", plan=SlotPlan(nominal=300.0), **options)  # type: ignore[arg-type]
    machine = RadioDevice(config, endpoint, memory, dice())
    bench = Bench(machine)  # type: ignore[arg-type]
    bench.post(PowerUp())
    return bench, machine, Partner(endpoint)


def command(partner: Partner, number: int, c_field: int = SND_UD, text: str = CONFORMANCE) -> bytes:
    """A command with the security of the device, under an access number of the link."""
    sealed = partner.frame("m-bus", text)
    return datagram(c_field, PARTNER.link_octets(), sealed[13:], 0x84, number)


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_data_command_answer_and_repetition(profile: str) -> None:
    bench, _, partner = meter(profile)
    data = opened(bench.next_frame())
    assert (data.address, str(data.records[0].value)) == (DEVICE, "12345.678")
    partner.counter = data.security.counter or 0
    frame = command(partner, 1)
    bench.hear(frame)
    first = bench.next_frame()
    assert (read(first).message, read(first).status, read(first).link_access) == ("ACK", 0, 1)
    assert read(first).transport_access == partner.access_number
    bench.hear(frame)
    assert bench.next_frame() == first
    bench.hear(down(REQ_UD2, 2, ala=DEVICE, sender=PARTNER, transport=99))
    answer = bench.next_frame()
    telegram = opened(answer)
    assert telegram.transport is not None
    assert telegram.transport.access_number == 99
    assert ANSWER in (telegram.payload or b"")
    assert bench.next_frame() == answer
    bench.hear(down(SND_NKE, 3, ala=DEVICE, sender=PARTNER))
    assert opened(bench.next_frame()).ok


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_command_with_answer(profile: str) -> None:
    bench, _, partner = meter(profile)
    partner.counter = opened(bench.next_frame()).security.counter or 0
    bench.hear(command(partner, 1, SND_UD2))
    telegram = opened(bench.next_frame())
    assert telegram.transport is not None
    assert telegram.transport.access_number == partner.access_number
    assert ANSWER in (telegram.payload or b"")


def test_a_replayed_command_is_an_error_and_a_repeated_one_is_not() -> None:
    bench, _, partner = meter("B")
    partner.counter = opened(bench.next_frame()).security.counter or 0
    frame = command(partner, 1)
    for expected in (0, 0):
        bench.hear(frame)
        assert read(bench.next_frame()).status == expected
    bench.hear(down(SND_NKE, 2, ala=DEVICE, sender=PARTNER))
    bench.run(bench.now + 5.0)
    bench.next_frame()
    bench.hear(frame)
    assert read(bench.next_frame()).status == 2


def test_a_power_cut_in_a_session() -> None:
    memory = DeviceMemory()
    bench, _, partner = meter("B", memory)
    partner.counter = opened(bench.next_frame()).security.counter or 0
    frame = command(partner, 1)
    bench.hear(frame)
    bench.next_frame()
    counter = memory.keys[0].counter
    bench, machine, _ = meter("B", memory)
    assert (opened(bench.next_frame()).security.counter or 0) > counter
    bench.hear(frame)
    assert read(bench.next_frame()).status == 2
    assert memory.credits == pytest.approx(4000.0 - 6, abs=1.0)
    assert machine.config.access == "short"


def test_all_kinds_of_messages_can_be_opened() -> None:
    bench, machine, _ = meter("B")
    assert isinstance(machine.endpoint, DeviceEndpoint)
    bench.post(ButtonPressed())
    assert opened(bench.next_frame()).link.message == "SND-IR"  # type: ignore[union-attr]
    bench.post(Trigger("static"))
    assert opened(bench.next_frame()).link.message == "SND-NR"  # type: ignore[union-attr]
    bench.post(Demand())
    assert opened(bench.next_frame()).link.message == "ACC-DMD"  # type: ignore[union-attr]


def test_events_of_the_application_come_out() -> None:
    bench, _, partner = meter("B")
    partner.counter = opened(bench.next_frame()).security.counter or 0
    bench.hear(command(partner, 1))
    assert all(isinstance(event, DeviceEvent) for event in bench.of(DeviceEvent))
