"""The operator's end of the link security: sealing, opening, counters over a power cut, change of a key."""

from __future__ import annotations

import msgspec
import pytest

from openmetering import Address, Decoder, KeyRing, compose, encode, examine
from openmetering import Meter as Shape
from openmetering.errors import InputError, KeyNotFound, NotRepresentable, SecurityError
from openmetering.protocol.exchange import Command
from openmetering.protocol.gateway.frames import with_link
from openmetering.protocol.gateway.partner_security import (
    FRAGMENT_OVERHEAD,
    Partner,
    PartnerSecurity,
    SecurityMemory,
    StoredKey,
    application_octets,
    protocol_of,
)
from openmetering.security import LedgerSnapshot, PeerCounter
from tests.protocol.gateway_bench import GATEWAY, KEY, METER, NEW_KEY, SECOND, Device, keys

BREAKER = Address.parse("XYZ-12345678-55-20")
RESET = Command("application-reset", b"")
SITP_N_12_2 = bytes.fromhex("1C000020003220000F00000000000000300101FD1F00FA41E2812D449B4D")


def security(profile: str = "B", *, ring: KeyRing | None = None, **options: object) -> PartnerSecurity:
    made = PartnerSecurity(ring if ring is not None else keys((METER, KEY)), **options)  # type: ignore[arg-type]
    made.enrol(METER, profile)
    return made


def counted(own: int, peer: int | None = None, *, address: Address = METER, version: int | None = None) -> SecurityMemory:
    """A memory in which the counters of a device stand somewhere."""
    entry = PeerCounter(address.link_octets(), 0, version, own, peer)
    return SecurityMemory(LedgerSnapshot("gateway", (entry,)))


def on_air(parts: list[bytes], number: int = 1) -> bytes:
    return with_link(0x53, GATEWAY.link_octets(), number, parts[0])


# -- sealing ---------------------------------------------------------------------------------


def test_the_published_command_to_a_breaker_comes_out_octet_for_octet() -> None:
    """Annex N.12.2: SND-UD2, ELL 8C 84 23, profile B, CGW 2800, status 20h (-66 dBm)."""
    made = PartnerSecurity(keys((BREAKER, KEY)), memory=counted(2799, address=BREAKER))
    made.enrol(BREAKER, "B")
    parts = made.seal(BREAKER, Command("sitp", SITP_N_12_2), 0x51, status=0x20)
    frame = with_link(0x43, Address.parse("XYZ-87654321-08-31").link_octets(), 0x23, parts[0])
    assert frame.hex().upper() == (
        "4B433A632143658708318C8423900F002C25F00A000087E277722E67603DC3785634123A635520512020071028"
        "B27359AC9B83ABCDC87FFDF8F2FE8E1ED8F19718B7434C5EAED8663F15C5CA"
    )


def test_the_published_clock_command_comes_out_octet_for_octet() -> None:
    """Annex N.8.2: SND-UD, CI 6C, profile A; the payload holds its command verification 2F 2F 2F 2F."""
    heat = Address.from_transport(bytes.fromhex("4422759293440007"))
    made = PartnerSecurity(keys((heat, bytes.fromhex("82B0551191F51D66EFCDAB8967452301"))))
    made.enrol(heat, "A")
    apdu = bytes.fromhex("013201000000000000002F2F2F2F")
    parts = made.seal(heat, Command("clock", apdu), 0x7D)
    assert parts[0].hex().upper() == "6C44227592934400077D0010059ED82AB233D1A2A80BFFD3B7B6A908D7"


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("protocol", ["m-bus", "application-reset", "clock", "image", "sitp"])
def test_every_protocol_opens_again_in_every_profile(profile: str, protocol: str) -> None:
    """CI by protocol on the radio (Annex M Table M.2), long header with the device's address."""
    payload = {
        "m-bus": b"\x01\xfd\x1f\x00",
        "application-reset": b"",
        "clock": bytes.fromhex("013201000000000000002F2F2F2F"),
        "image": b"\x04\x00\x00",
        "sitp": SITP_N_12_2,
    }[protocol]
    parts = security(profile).seal(METER, Command(protocol, payload), 7, status=5)
    telegram = examine(on_air(parts), KEY)
    assert telegram.transport is not None
    ci = {"m-bus": 0x5B, "application-reset": 0x53, "clock": 0x6C, "image": 0xC0, "sitp": 0xC3}[protocol]
    assert (telegram.transport.ci, telegram.transport.header, telegram.transport.address) == (ci, "long", METER)
    assert (telegram.transport.access_number, telegram.transport.status) == (7, 5)
    assert telegram.security.profile == profile
    assert telegram.security.counter == (1 if profile in ("B", "D") else None)
    assert not telegram.uplink
    assert application_octets(telegram).rstrip(b"\x2f") == payload.rstrip(b"\x2f")
    assert protocol_of(telegram) == protocol


@pytest.mark.parametrize(
    ("protocol", "profile", "start"),
    [
        ("m-bus", "none", "51"),
        ("application-reset", "none", "50"),
        ("application-request", "none", "54"),
        ("clock", "none", "6C78563412"),
        ("sitp", "none", "C378563412"),
        ("image", "none", "C078563412"),
        ("m-bus", "A", "5B78563412"),
        ("application-reset", "A", "5378563412"),
    ],
)
def test_on_the_wire_without_profile_some_protocols_have_no_header(protocol: str, profile: str, start: str) -> None:
    parts = security(profile).seal(METER, Command(protocol, b"\x01\x02"), 1, wired=True)
    assert parts[0].hex().upper().startswith(start)
    if len(start) == 2:
        assert parts[0][1:] == b"\x01\x02"


def test_link_bits_stay_clear_in_the_configuration_field() -> None:
    """The ELL has them on the radio; on the wire there are none."""
    for wired in (False, True):
        parts = security("A").seal(METER, Command("sitp", b"\x00\x00"), 1, wired=wired)
        assert parts[0][11:13].hex().upper() == "1005"


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_long_command_is_cut(profile: str) -> None:
    made = security(profile)
    payload = bytes(range(200))
    sealed = made.seal_command(METER, Command("image", payload), 3, largest=143, largest_part=100)
    assert len(sealed.parts) > 2
    assert all(len(part) <= 100 for part in sealed.parts)
    assert [part[2] for part in sealed.parts] == list(range(1, len(sealed.parts) + 1))  # FID
    ella = METER.link_octets()
    frames = [with_link(0x53, GATEWAY.link_octets(), 1 + at, part, destination=ella) for at, part in enumerate(sealed.parts)]
    decoder = Decoder(KEY)
    telegrams = [decoder.examine(frame) for frame in frames]
    assert [telegram.fragment for telegram in telegrams] == [True] * (len(telegrams) - 1) + [False]
    assert application_octets(telegrams[-1]).startswith(payload)
    assert sealed.counter == (1 if profile in ("B", "D") else None)
    assert FRAGMENT_OVERHEAD == 13


def test_what_fits_is_not_cut() -> None:
    made = security("none")
    assert len(made.seal(METER, Command("image", bytes(100)), 1, largest=113)) == 1
    assert len(made.seal(METER, Command("image", bytes(101)), 1, largest=113)) == 2


def test_unknown_protocols_devices_and_profiles() -> None:
    made = security()
    with pytest.raises(NotRepresentable, match="dlms"):
        made.seal(METER, Command("dlms", b""), 1)
    with pytest.raises(KeyNotFound):
        made.seal(SECOND, RESET, 1)
    with pytest.raises(NotRepresentable, match="profile"):
        made.enrol(METER, "C")
    made.enrol(SECOND, "B")
    with pytest.raises(KeyNotFound):
        made.seal(SECOND, RESET, 1)
    made.dismiss(SECOND)
    made.dismiss(SECOND)
    with pytest.raises(KeyNotFound):
        made.partner(SECOND)


# -- which keys ------------------------------------------------------------------------------


@pytest.mark.parametrize("key_id", [0x10, 0x12, 0x20, 0xFF])
def test_a_ring_with_application_or_wrapper_keys_is_refused(key_id: int) -> None:
    ring = keys((METER, KEY, key_id, 0))
    with pytest.raises(InputError, match=f"{key_id:02X}h") as caught:
        PartnerSecurity(ring)
    assert caught.value.code == "key.invalid"
    with pytest.raises(InputError):
        PartnerSecurity(keys((METER, KEY))).enrol(METER, "B", key_id)
    with pytest.raises(InputError):
        security().give_key(METER, ring, key_id, 0)


@pytest.mark.parametrize("key_id", [0x00, 0x01, 0x08, 0x0F])
def test_communication_keys_are_used_by_their_number(key_id: int) -> None:
    made = PartnerSecurity(keys((METER, NEW_KEY), (METER, KEY, key_id, 3)) if key_id else keys((METER, KEY, 0, 3)))
    made.enrol(METER, "B", key_id)
    telegram = examine(on_air(made.seal(METER, RESET, 1)), keys((METER, KEY, key_id, None)))
    assert telegram.security.proof == "mac"
    assert telegram.security.key_id == key_id


def test_keys_show_nowhere() -> None:
    made = security()
    made.give_key(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1)
    memory = made.snapshot()
    for text in (repr(made), repr(memory), str(memory.keys)):
        assert NEW_KEY.hex() not in text.lower()
        assert repr(NEW_KEY) not in text
    assert repr(memory.keys[0]) == "<StoredKey id=00 version=01>"
    assert "1 devices" in repr(made)


# -- opening ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_telegram_of_the_right_profile_is_protected(profile: str) -> None:
    opened = security(profile).open(Device(profile=profile).spontaneous())
    assert (opened.verdict, opened.protected, opened.switched, opened.service) == ("new", True, False, False)
    assert application_octets(opened.telegram).startswith(b"\x04\x13")


@pytest.mark.parametrize(("mine", "its"), [("A", "none"), ("B", "none"), ("B", "A"), ("B", "D"), ("D", "B"), ("A", "B")])
def test_a_telegram_of_another_profile_is_not(mine: str, its: str) -> None:
    opened = security(mine).open(Device(profile=its).spontaneous())
    assert opened.verdict == "new"
    assert not opened.protected


def test_errors_and_pure_headers_are_never_protected() -> None:
    made = security("B")
    device = Device(profile="B")
    error = device.frame(0x08, b"\x20", ci=0x6E, profile="none", status=2)
    assert made.open(error).protected
    assert protocol_of(made.open(error).telegram) == "application-error"
    assert made.open(device.access()).protected


def test_a_device_that_is_not_known_counts_as_protected_with_any_proof() -> None:
    made = PartnerSecurity(keys((METER, KEY)))
    assert made.open(Device(profile="B").spontaneous()).protected
    assert not made.open(Device().spontaneous()).protected


def test_consumer_information_has_its_own_key_and_is_protected() -> None:
    """UC-07b: SND-NR under KeyID 08. An answer under that key is not one of the device's communication key."""
    made = PartnerSecurity(keys((METER, KEY), (METER, NEW_KEY, 8, None)))
    made.enrol(METER, "B")
    ring = keys((METER, NEW_KEY, 8, None))
    for counter, control, protected in ((1, 0x44, True), (2, 0x08, False)):
        telegram = compose(Shape(METER, "B", key_id=8), b"\x01\xfd\x17\x00", counter=counter, control=control, content_index=3)
        opened = made.open(encode(telegram, ring))
        assert (opened.verdict, opened.protected) == ("new", protected)


def test_what_cannot_be_read() -> None:
    made = security("B")
    good = Device(profile="B").spontaneous()
    wrong = Device(profile="B", key=NEW_KEY).spontaneous()
    other = Device(SECOND, "B").spontaneous()
    clear = Device().frame(0x44, b"\x2f\x2f" + bytes(14), profile="none")
    for frame in (wrong, other, b"", b"\x05\x44", good[:-3], good[:10]):
        assert made.open(frame).verdict == "unreadable", frame.hex()
    assert made.open(clear).verdict == "new"
    pretended = clear[:16] + b"\x10\x05" + clear[18:]  # says mode 5, is in the clear
    assert made.open(pretended).verdict == "unreadable"


def test_frames_of_gateways_and_frames_without_transport_are_left_alone() -> None:
    made = security("B")
    down = on_air(made.seal(METER, RESET, 1))
    assert (made.open(down).verdict, made.open(down).protected) == ("new", False)
    ack = bytes.fromhex("0C00") + METER.link_octets() + bytes.fromhex("8C8011")
    assert (made.open(ack).verdict, made.open(ack).protected) == ("new", True)
    assert protocol_of(made.open(ack).telegram) == ""
    torn = ack[:-1]
    assert made.open(bytes((len(torn) - 1,)) + torn[1:]).verdict == "unreadable"


@pytest.mark.parametrize("profile", ["B", "D"])
def test_the_counter_of_the_device_leads(profile: str) -> None:
    """CGW := CM if larger; the next command lies above it (OMS Volume 2 5.0.1, 9.3.2)."""
    made = security(profile)
    assert made.verified(METER) is None
    device = Device(profile=profile, counter=500)
    assert made.open(device.spontaneous()).verdict == "new"
    assert made.verified(METER) == 501
    assert made.seal_command(METER, RESET, 1).counter == 502
    assert made.open(device.spontaneous()).verdict == "new"  # 502 as well: CM and CGW are counted apart
    assert made.seal_command(METER, RESET, 1).counter == 503


def test_copies_and_replays() -> None:
    made = security("B")
    device = Device(profile="B")
    first, second = device.spontaneous(), device.spontaneous()
    copy = first[:11] + bytes((first[11] | 0x10,)) + first[12:]
    assert [made.open(frame).verdict for frame in (first, copy, second, first, second)] == [
        "new",
        "duplicate",
        "new",
        "replayed",
        "duplicate",
    ]
    twin = Device(profile="B", counter=device.counter - 1)
    assert made.open(twin.frame(0x44, b"\x04\x13\x07\x07\x07\x07")).verdict == "replayed"  # the counter again, other octets


def test_a_counter_near_its_end_asks_for_service() -> None:
    made = security("B")
    device = Device(profile="B", counter=0xFFFEFFFE)
    assert not made.open(device.spontaneous()).service
    assert made.open(device.spontaneous()).service
    device.counter = 0xFFFFFFFE
    made.open(device.spontaneous())
    with pytest.raises(SecurityError) as caught:
        made.seal(METER, RESET, 1)
    assert caught.value.code == "counter.exhausted"


# -- power cuts ------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "reserve"), [(1, 100), (1, 1), (64, 100), (100, 100), (7, 3)])
def test_no_counter_is_used_twice_whenever_the_power_goes(step: int, reserve: int) -> None:
    """A snapshot is stored whenever ``unsaved`` asks for it; the power goes behind every single message."""
    for messages in range(1, 9):
        made = security("B", step=step, reserve=reserve)
        stored = made.snapshot()
        used = []
        for _ in range(messages):
            counter = made.seal_command(METER, RESET, 1).counter
            assert counter is not None
            if made.unsaved:
                stored, made.unsaved = made.snapshot(), False
            used.append(counter)
        after = PartnerSecurity.restore(stored, keys((METER, KEY)), step=step, reserve=reserve)
        following = after.seal_command(METER, RESET, 1).counter
        assert following is not None
        assert following > max(used)
        assert following - max(used) <= max(reserve, step, 1) + step - 1 <= 199
        assert following - max(used) <= 100 or step > 1


def test_a_snapshot_is_asked_for_once_a_block() -> None:
    made = security("B", reserve=10)
    made.unsaved = False
    asked = []
    for _ in range(21):
        made.seal(METER, RESET, 1)
        asked.append(made.unsaved)
        made.unsaved = False
    assert [at for at, flag in enumerate(asked) if flag] == [0, 10, 20]


def test_counters_of_the_device_are_in_the_snapshot() -> None:
    made = security("B")
    device = Device(profile="B")
    frame = device.spontaneous()
    made.open(frame)
    after = PartnerSecurity.restore(made.snapshot(), keys((METER, KEY)))
    assert after.verified(METER) == 101
    assert after.open(frame).verdict == "duplicate"
    assert after.seal_command(METER, RESET, 1).counter == 102
    assert after.partner(METER) == Partner(METER.link_octets(), "B")


def test_a_memory_is_a_value_that_can_be_written_down() -> None:
    made = security("B")
    made.give_key(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1)
    made.open(Device(profile="B").spontaneous())
    made.seal(METER, RESET, 1)
    memory = made.snapshot()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=SecurityMemory) == memory
    assert PartnerSecurity.restore(memory, keys((METER, KEY))).snapshot() == memory


# -- change of a key -------------------------------------------------------------------------


def renewing(profile: str = "B", version: int | None = None) -> PartnerSecurity:
    made = security(profile, ring=keys((METER, KEY, 0, version)))
    made.give_key(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1)
    return made


@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("version", [None, 0])
def test_the_old_key_stays_in_use_until_the_device_has_used_the_new_one(profile: str, version: int | None) -> None:
    made = renewing(profile, version)
    old = examine(on_air(made.seal(METER, RESET, 1)), keys((METER, KEY, 0, version)))
    assert old.security.state == "decrypted"
    assert old.security.key_version == version
    opened = made.open(Device(profile=profile, counter=900).spontaneous())
    assert (opened.verdict, opened.switched) == ("new", False)
    opened = made.open(Device(profile=profile, key=NEW_KEY, counter=0).spontaneous())
    assert (opened.verdict, opened.switched, opened.protected) == ("new", True, True)
    assert made.partner(METER) == Partner(METER.link_octets(), profile, 0, 1, ())
    assert examine(on_air(made.seal(METER, RESET, 1)), keys((METER, NEW_KEY, 0, 1))).security.state == "decrypted"
    assert made.open(Device(profile=profile, counter=901).spontaneous()).verdict == "unreadable"  # the old key is over


def test_counters_start_anew_with_the_key() -> None:
    """Annex M Appendix M.A: CGW and C''M are reset when the new KeyVersion is verified."""
    made = renewing()
    made.open(Device(profile="B", counter=90_000).spontaneous())
    device = Device(profile="B", key=NEW_KEY, counter=0)
    assert made.open(device.spontaneous()).verdict == "new"
    assert made.verified(METER) == 1
    assert made.seal_command(METER, RESET, 1).counter == 2


def test_commands_name_the_version_while_a_key_waits() -> None:
    """AFL.KI in profile B, V bit and KeyVersion in profile D; nothing where no version is known."""
    telegram = examine(on_air(renewing("B", 0).seal(METER, RESET, 1)), KEY)
    assert telegram.afl is not None
    assert telegram.afl.key_information is not None
    assert (telegram.afl.key_information.key_id, telegram.afl.key_information.key_version) == (0, 0)
    telegram = examine(on_air(renewing("D", 0).seal(METER, RESET, 1)), KEY)
    assert telegram.transport is not None
    assert telegram.transport.key_version == 0
    for made in (renewing("B", None), security("B", ring=keys((METER, KEY, 0, 0)))):
        telegram = examine(on_air(made.seal(METER, RESET, 1)), KEY)
        assert telegram.afl is not None
        assert telegram.afl.key_information is None
    asked = security("B", ring=keys((METER, KEY, 0, 4))).seal(METER, RESET, 1, key_information=True)
    telegram = examine(on_air(asked), KEY)
    assert telegram.afl is not None
    assert telegram.afl.key_information is not None
    assert telegram.afl.key_information.key_version == 4
    silent = examine(on_air(renewing("B", 0).seal(METER, RESET, 1, key_information=False)), KEY)
    assert silent.afl is not None
    assert silent.afl.key_information is None


def test_answers_that_name_their_version_are_opened_with_it() -> None:
    made = renewing("B", 0)
    old = Device(profile="B").spontaneous
    assert made.open(Device(profile="B").frame(0x08, key_version=0)).telegram.security.key_version == 0
    assert made.open(Device(profile="B", key=NEW_KEY, counter=0).frame(0x08, key_version=1)).switched
    assert made.open(Device(profile="B", key=NEW_KEY, counter=5).frame(0x08, key_version=7)).verdict == "unreadable"
    assert made.open(old()).verdict == "unreadable"


def test_the_waiting_key_survives_a_power_cut() -> None:
    made = renewing("B", 0)
    after = PartnerSecurity.restore(made.snapshot(), keys((METER, KEY, 0, 0)))
    assert after.partner(METER).waiting == (1,)
    after.enrol(METER, "B")  # the description is given again at every start
    assert after.open(Device(profile="B", key=NEW_KEY, counter=0).spontaneous()).switched
    again = PartnerSecurity.restore(after.snapshot(), keys((METER, KEY, 0, 0)))
    again.enrol(METER, "B")
    assert again.partner(METER).version == 1
    assert again.open(Device(profile="B", key=NEW_KEY, counter=3).spontaneous()).verdict == "new"


def test_two_keys_may_wait() -> None:
    """A renewal that was given up and begun again: the device may still take the first of them."""
    third = bytes(range(0x70, 0x80))
    made = renewing("B", 0)
    made.give_key(METER, keys((METER, third, 0, 2)), 0, 2)
    made.give_key(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1)  # again: it is the younger one now
    assert made.partner(METER).waiting == (2, 1)
    assert made.open(Device(profile="B", key=third, counter=0).spontaneous()).switched
    assert made.partner(METER).waiting == (1,)
    assert made.open(Device(profile="B", key=NEW_KEY, counter=0).spontaneous()).switched
    assert made.partner(METER) == Partner(METER.link_octets(), "B", 0, 1, ())
    assert made.open(Device(profile="B", key=third, counter=9).spontaneous()).verdict == "unreadable"


def test_a_first_key_is_in_use_at_once() -> None:
    made = PartnerSecurity()
    made.enrol(METER, "B")
    made.give_key(METER, KeyRing.single(KEY), 0, 0)
    assert made.partner(METER) == Partner(METER.link_octets(), "B", 0, 0, ())
    assert examine(on_air(made.seal(METER, RESET, 1)), KEY).security.proof == "mac"
    made.give_key(METER, KeyRing.single(KEY), 0, 0)  # the same again changes nothing
    assert made.partner(METER).waiting == ()


def test_a_version_is_one_key_only() -> None:
    made = renewing()
    with pytest.raises(InputError, match="01h"):
        made.give_key(METER, KeyRing.single(KEY), 0, 1)
    with pytest.raises(KeyNotFound):
        made.give_key(METER, keys((SECOND, KEY)), 0, 2)


def test_a_key_of_another_number_is_kept_but_not_switched_to() -> None:
    """UC-07b: the consumer display's key 08 beside the master key."""
    made = security("B")
    made.give_key(METER, keys((METER, NEW_KEY, 8, 0)), 8, 0)
    assert made.partner(METER) == Partner(METER.link_octets(), "B")
    assert made.snapshot().keys == (StoredKey(METER.link_octets(), 8, 0, NEW_KEY),)


def test_a_change_of_the_profile_is_a_change() -> None:
    made = security("B")
    made.unsaved = False
    made.enrol(METER, "B")
    assert not made.unsaved
    made.enrol(METER, "D", 0, 0)
    assert made.unsaved
    assert made.partner(METER) == Partner(METER.link_octets(), "D", 0, 0)
