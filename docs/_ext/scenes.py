"""The use cases as they are shown: each scene is a run of the simulated house, with one procedure or two.

Nothing is drawn by hand: times, octets and refusals are those of the machines in the package. Same seed, same pages.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace
from stage import DISPLAY, GATEWAY, HOUSE, Stage, Story

from openmetering.codec.address import Address
from openmetering.protocol.gateway.events import Register
from openmetering.protocol.operator import adapter, billing, clock, conformance, disconnector, firmware, selection, supervision
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.keys import key_list, renew_key
from openmetering.protocol.operator.registration import Found, read_for_registration
from openmetering.protocol.radio.events import ButtonPressed
from openmetering.simulation.plan import read_plan
from openmetering.simulation.post import Post
from openmetering.simulation.world import device_link

__all__ = ["SCENES"]

NEW_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
TODAY = dt.date(2026, 3, 2)


def conformance_plain() -> Story:
    stage = Stage("gas")
    report = stage.perform(conformance.conformance_test())
    assert report is not None
    stage.tell(f"{sum(check.passed for check in report.checks)} of {len(report.checks)} checks passed")
    return stage.story("Radio, profile B", "All five functions, in the plain form.")


def conformance_secured() -> Story:
    stage = Stage("wired electricity")
    report = stage.perform(conformance.conformance_test(stage.head_end, stage.address, functions=(0x32, 0x34)))
    assert report is not None
    stage.tell(f"{sum(check.passed for check in report.checks)} of {len(report.checks)} checks passed")
    return stage.story("Wire, under key 1Fh", "Two functions inside SITP, without security on the link.")


def registration_radio() -> Story:
    stage = Stage("gas")
    assert isinstance(stage.device, Post)
    stage.device.post(ButtonPressed())
    stage.wait(60.0)
    return stage.story("Radio", "Somebody presses the button of the meter; the gateway knows it and confirms.")


def registration_wire() -> Story:
    stage = Stage("wired heat")
    registered = stage.perform(read_for_registration(Found(stage.address)))
    assert registered is not None
    stage.tell(f"{len(registered.records)} records in the first reading")
    return stage.story("Wire, by secondary address", "The slave has no primary address: it is selected, then read.")


def _disconnect(stage: Stage, state: str = "disconnected") -> None:
    done = stage.perform(disconnector.set_disconnector(stage.head_end, stage.address, state, part_of_meter=True))
    if done is not None:
        stage.tell(f"control state {done.state.control}, output state {done.state.output}; known by: {done.proof}")


def disconnector_radio() -> Story:
    stage = Stage("gas")
    _disconnect(stage)
    return stage.story("Radio, profile B", "The valve inside the meter is closed.")


def disconnector_refused() -> Story:
    stage = Stage("gas")
    _disconnect(stage, "released")
    return stage.story("Refused", "A direct type cannot be released: it has no button.")


def disconnector_lost() -> Story:
    stage = Stage("gas")
    stage.lose(stage.device.name, "RSP-UD", range(1, 7))
    _disconnect(stage)
    return stage.story(
        "The answer is lost",
        "All answers of the first session are lost. The head-end asks for the answer again, not for the valve.",
    )


def disconnector_wire() -> Story:
    stage = Stage("wired electricity")
    _disconnect(stage)
    return stage.story("Wire, no security on the link", "The same container; the link adds nothing.")


def clock_adjusted() -> Story:
    stage = Stage("gas")
    head_end, address = stage.head_end, stage.address
    if stage.perform(clock.adjust_clock(head_end, address, 30)) is not None:
        stage.tell("the device works it off within 12 hours")
    stage.perform(clock.adjust_clock(head_end, address, 10))
    return stage.story("Adjusted by the head-end (UC-04b)", "And again while the first adjustment is under way.")


def clock_by_gateway() -> Story:
    stage = Stage("electricity")
    stage.perform(clock.adjust_by_gateway(30))
    moment = clock.type_i(dt.datetime(2026, 3, 2, 10, 15))
    if stage.perform(clock.set_clock(stage.head_end, stage.address, moment)) is not None:
        stage.tell("set at once")
    return stage.story(
        "Refused to the gateway (UC-04c)", "This meter takes clock orders from the head-end only: then it is set under key 22h."
    )


def image() -> firmware.FirmwareImage:
    """An image of three blocks."""
    return firmware.FirmwareImage(b"V1.2", bytes(range(256)) * 2)


def _update(stage: Stage) -> None:
    done = stage.perform(firmware.update_firmware(stage.head_end, stage.address, image()))
    if done is not None:
        again = ", gone on with" if done.resumed else ""
        stage.tell(f"state {done.state}, {done.state_name}; {done.sent} blocks sent{again}")


def firmware_radio() -> Story:
    stage = Stage("gas")
    _update(stage)
    return stage.story("Radio, profile B", "Three blocks, validated and activated.")


def firmware_resumed() -> Story:
    stage = Stage("wired electricity")
    kernel, device = stage.world.kernel, stage.device
    kernel.call_at(stage.world.now + 1.0, lambda now: device.power_off())
    kernel.call_at(stage.world.now + 60.0, lambda now: device.power_on())
    _update(stage)
    stage.wait(60.0)
    _update(stage)
    return stage.story("Wire, the power fails", "The meter loses its power during the transfer; the same call goes on later.")


def supervision_radio() -> Story:
    stage = Stage("warm water")
    found = stage.perform(supervision.read_status())
    assert found is not None
    stage.tell(f"status octet {found.status:02X}h, MM3! {found.standard_flags:04X}h")
    left = stage.perform(supervision.clear_all_flags(stage.head_end, stage.address))
    assert left is not None
    stage.tell(f"MM3! {left.standard_flags:04X}h is left: its cause is permanent")
    return stage.story("Radio, profile B", "The meter has found a leak and was opened. Flags are read, then cleared.")


def consumer_radio() -> Story:
    stage = Stage("electricity")
    stage.wait(300.0)
    shown = stage.world.displays[DISPLAY].latest[stage.address]
    stage.tell("the display shows " + ", ".join(map(str, shown.records)))
    return stage.story(
        "Radio, keys 00h and 08h (UC-07b)",
        "In turn the meter tells its operator (key 00h) and its consumer (key 08h). The display has the second key only.",
        others=(DISPLAY,),
        everything=True,
    )


def keys_listed() -> Story:
    stage = Stage("gas")
    listed = stage.perform(key_list(stage.head_end, stage.address, counters=True))
    assert listed is not None
    stage.tell(f"{len(listed.entries)} active keys")
    return stage.story("Which keys are in use", "The list with key counters (BCF 09h).")


def _renew(stage: Stage) -> None:
    """A new master key: the head-end has it, and knows that version 0 came from the factory."""
    ring = stage.world.head_end_keys()
    ring.add(stage.address.link_octets(), NEW_KEY, 0, 1)
    stage.knows(stage.address, NEW_KEY, 0, 1)
    stage.tells_versions = True
    head_end = HeadEnd(ring)
    head_end.adopt(stage.address, 0, 0)
    done = stage.perform(renew_key(head_end, stage.address, 0, 1))
    if done is not None:
        stage.tell(f"key {done.key_id:02X}h: version {done.new} in place of version {done.old}")


def keys_renewed() -> Story:
    stage = Stage("gas")
    _renew(stage)
    return stage.story("The master key is renewed", "Transfer under the old key; the answer to the activation has the new one.")


def keys_lost() -> Story:
    stage = Stage("gas")
    stage.lose(stage.device.name, "RSP-UD", range(2, 8))
    _renew(stage)
    return stage.story(
        "The last answer is lost",
        "The device has changed its key, and nobody has heard of it. Its next telegram names the new version: the gateway "
        "verifies it and changes over. The command that is repeated was sealed before and is refused; the list settles it.",
    )


def keys_wire() -> Story:
    stage = Stage("wired electricity")
    ring = stage.world.head_end_keys()
    ring.add(stage.address.link_octets(), NEW_KEY, 0x20, 1)
    done = stage.perform(renew_key(HeadEnd(ring), stage.address, 0x20, 1))
    assert done is not None
    stage.tell(f"key {done.key_id:02X}h: version {done.new} in place of version {done.old}")
    return stage.story("Wire, an application key", "The key of the disconnector (20h), wrapped under key 14h.")


def billing_radio() -> Story:
    stage = Stage("gas")
    head_end, address = stage.head_end, stage.address
    date = stage.perform(billing.set_next_due_date(head_end, address, dt.date(2026, 12, 31), today=TODAY))
    stage.tell(f"next due date {date}")
    number = stage.perform(billing.set_ownership_number(head_end, address, "123456"))
    stage.tell(f"ownership number {number}")
    stage.perform(billing.read_due_dates())
    return stage.story(
        "Radio, profile B", "Due date and ownership number are set. There was no due date yet, so the last one is asked in vain."
    )


def selection_radio() -> Story:
    stage = Stage("gas")
    done = stage.perform(selection.select_data(stage.head_end, stage.address, 0, 0, remove=["VF2!", "MM3!"]))
    assert done is not None
    stage.tell(f"{len(done.records) - 1} points are left in the standard response")
    return stage.story("Radio, profile B", "Two points are taken out of the standard response.")


def adapter_address() -> Story:
    stage = Stage("cold water")
    old, new = stage.address, Address.parse("EXS-87654321-01-16")
    key = next(one.octets for one in stage.device.spec.description.keys if one.key_id == 0)
    stage.knows(new, key)
    done = stage.perform(adapter.set_meter_address(stage.head_end, old, new, delay=45))
    assert done is not None
    stage.tell("accepted and scheduled: the session ends under the old address")
    stage.wait(60.0)
    stage.head_end.move(old, new)
    gateway = stage.world.gateways[GATEWAY]
    gateway.keys.add(new.link_octets(), key, 0)
    gateway.post(Register(replace(device_link(stage.device.spec), address=new)))
    stage.name(new)
    stage.wait(130.0)
    stage.tell(f"the adapter speaks for {stage.device.address}")
    return stage.story(
        "The address of the meter (UC-20a)", "After 45 s the adapter names the new one.", called="adapter", everything=True
    )


def adapter_index() -> Story:
    plan = read_plan(HOUSE)
    counting = {"adapter": {"indexes": {"VM1!": "0C13"}}}
    groups = [replace(group, functions=counting) if group.adapter else group for group in plan.meters]
    stage = Stage("cold water", plan=replace(plan, meters=groups))
    header = bytes.fromhex("0A13")
    for change, litres in (("add", "0.367"), ("sub", "0.400")):
        done = stage.perform(adapter.change_index(stage.head_end, stage.address, "VM1!", header, change, Decimal(litres)))
        if done is not None:
            stage.tell(f"index: {done.index}")
    about = "367 l are added. Then 400 l are to be taken away: an index is never negative."
    return stage.story("Its index (UC-20b)", about, called="adapter")


#: number of the use case -> its scenes in order
SCENES: dict[str, tuple[Callable[[], Story], ...]] = {
    "00": (conformance_plain, conformance_secured),
    "01": (registration_radio, registration_wire),
    "03": (disconnector_radio, disconnector_refused, disconnector_lost, disconnector_wire),
    "04": (clock_adjusted, clock_by_gateway),
    "05": (firmware_radio, firmware_resumed),
    "06": (supervision_radio,),
    "07": (consumer_radio,),
    "08": (keys_listed, keys_renewed, keys_lost, keys_wire),
    "12": (billing_radio,),
    "14": (selection_radio,),
    "20": (adapter_address, adapter_index),
}
