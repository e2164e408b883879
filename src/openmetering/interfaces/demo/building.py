"""The recording of the building: one day of telegrams, made with our own encoder.

    python -m openmetering.interfaces.demo.building [DIRECTORY]

writes building.log (radio, as rtl_wmbus prints it), building-wired.jsonl (the answers of the
wired meters), keys.csv (one key is missing, one is wrong) and keys-complete.csv (all of them, right). The seed stands in
``building.toml``; the same plan gives the same octets everywhere.

    incident   what happens                                          fault
    replay     an old telegram is sent again                         counter.replayed
    forge      a telegram comes with an octet changed                key.mismatch.mac
    noise      a receiver tells that the CRC is wrong                input.crc
    checksum   a wired answer is disturbed                           frame.checksum
    cut        the end of a telegram is lost                         frame.truncated
    lost       the middle fragment of a message is lost              afl.fragment_missing
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec

from openmetering.codec.address import Address
from openmetering.interfaces.demo.plan import Building, Device, Incident, read_building, seconds
from openmetering.interfaces.demo.telegrams import Sender, demo_key
from openmetering.interfaces.demo.values import Fact, Scene, dice

__all__ = ["FILES", "Sent", "key_files", "main", "record_day", "recording_files"]

FILES = ("building.log", "building-wired.jsonl", "keys.csv", "keys-complete.csv")

_DAY = 86_400
_ELL_HOP, _CF_HOP = 0x10, 0x01
_SHORT_HEADER = frozenset((0x7A, 0x8A, 0x6A, 0x7B))
_REPEATED = frozenset((0x44, 0x46))
_KEY_FAULTS = {("late", "ELL"): "key.missing", ("wrong", "ELL"): "key.mismatch.crc", ("wrong", "A"): "key.mismatch.verification",
               ("wrong", "B"): "key.mismatch.mac", ("wrong", "D"): "key.mismatch.tag"}  # fmt: skip


class Sent(msgspec.Struct, frozen=True):
    """One telegram of the recording and the truth about it.

    ``at`` are milliseconds since midnight. ``fault`` is the code that reading it must give at this
    place of the recording; ``copy`` marks what a repeater sent again; ``damaged`` what the receiver
    itself refused. ``facts`` are the values it states, readable or not.
    """

    at: int
    device: Device
    message: str
    octets: bytes
    facts: list[Fact] = []
    fault: str | None = None
    rssi: int | None = None
    copy: bool = False
    damaged: bool = False


# -- the day as it should be ----------------------------------------------------------------


def _schedule(building: Building, device: Device, sender: Sender) -> Iterator[tuple[int, str]]:
    """Times and messages of a device. A sender's access number moves while the caller sends."""
    planned = sorted((seconds(at), name) for at, name in device.plan)
    wired = device.primary is not None
    at = 300 + 2 * (device.primary or 0) if wired else dice(building.seed, device.address, "first") % (device.every * 60)
    at += seconds(device.since)
    while planned or at < _DAY:
        if planned and planned[0][0] <= at:
            yield planned.pop(0)
            continue
        yield at, device.message
        at += device.every * 60 if wired else sender.interval()


def _send_day(building: Building, device: Device) -> Iterator[Sent]:
    """All telegrams of a device, copies of the repeater included."""
    sender = Sender(building, device)
    fault = _KEY_FAULTS.get((device.key, device.security), "key.missing" if device.key == "late" else None)
    taught = device.message != "compact"
    number = 0
    for now, name in _schedule(building, device, sender):
        taught = taught or name == "format" or (name == "data" and fault is None)
        at = now * 1000 + dice(building.seed, device.address, now) % 1000
        for step, frame in enumerate(sender.send(name, now)):
            found = _fault(name, fault, taught)
            rssi = None if device.primary is not None else device.rssi - dice(building.seed, device.address, at, step) % 9
            sent = Sent(at + 900 * step, device, name, frame.octets, frame.facts, found, rssi)
            yield sent
            number += 1
            if device.repeat and number % device.repeat == 0 and sent.octets[1] in _REPEATED:
                yield _repeated(building, sent)


def _fault(name: str, fault: str | None, taught: bool) -> str | None:
    """The fault a message must give; a message of mode 0 needs no key."""
    if name == "access":
        return None
    if name == "busy":
        return "application.error"
    if fault is None and name == "compact" and not taught:
        return "compact.unknown_format"
    return fault


def _repeated(building: Building, sent: Sent) -> Sent:
    """What a unidirectional repeater sends 5 to 25 s later: the hop bit set, nothing else changed.

    Source   OMS Volume 2 5.0.1, repeaters (clause to confirm)
    """
    delay = 5000 + dice(building.seed, "repeater", sent.at) % 20_000
    octets = bytearray(sent.octets)
    if octets[10] in _SHORT_HEADER:
        octets[13] |= _CF_HOP
    else:
        octets[11] |= _ELL_HOP
    return msgspec.structs.replace(sent, at=sent.at + delay, octets=bytes(octets), copy=True, rssi=-58 - delay % 5)


# -- what goes wrong ------------------------------------------------------------------------


def _last(day: list[Sent], device: Device, before: int) -> Sent:
    """The last original telegram of a device before a time of the day."""
    return max((one for one in day if one.device is device and one.at <= before * 1000 and not one.copy), key=lambda one: one.at)


def _flipped(octets: bytes, at: int) -> bytes:
    """The octets with a bit of one of them turned over."""
    return octets[:at] + bytes((octets[at] ^ 0x20,)) + octets[at + 1 :]


def _replay(day: list[Sent], incident: Incident, device: Device) -> None:
    old = _last(day, device, seconds(incident.of))
    day.append(msgspec.structs.replace(old, at=seconds(incident.at) * 1000 + 217, fault="counter.replayed", facts=[]))


def _forge(day: list[Sent], incident: Incident, device: Device) -> None:
    old = _last(day, device, seconds(incident.at))
    changes = {"at": seconds(incident.at) * 1000 + 433, "octets": _flipped(old.octets, len(old.octets) - 3), "rssi": -49}
    day.append(msgspec.structs.replace(old, fault="key.mismatch.mac", facts=[], **changes))


def _disturb(day: list[Sent], incident: Incident, device: Device, octets: Callable[[bytes], bytes], **changes: object) -> None:
    """The last telegram before the time arrives damaged: it takes the place of the good one."""
    old = _last(day, device, seconds(incident.at))
    day[day.index(old)] = msgspec.structs.replace(old, octets=octets(old.octets), facts=[], **changes)


def _noise(day: list[Sent], incident: Incident, device: Device) -> None:
    _disturb(day, incident, device, lambda octets: _flipped(octets, 17), fault="input.crc", damaged=True)


def _checksum(day: list[Sent], incident: Incident, device: Device) -> None:
    _disturb(day, incident, device, lambda octets: _flipped(octets, 21), fault="frame.checksum")


def _cut(day: list[Sent], incident: Incident, device: Device) -> None:
    _disturb(day, incident, device, lambda octets: octets[:-9], fault="frame.truncated")


def _lost(day: list[Sent], incident: Incident, device: Device) -> None:
    """The second fragment of a message is not heard; the ones behind it have no place."""
    end = seconds(incident.at) * 1000
    heard = [one for one in day if one.device is device and one.message == "fragments" and one.at <= end]
    fragments = [one for one in heard if heard[-1].at - one.at < 60_000]
    day.remove(fragments[1])
    for one in fragments[2:]:
        day[day.index(one)] = msgspec.structs.replace(one, fault="afl.fragment_missing", facts=[])


_INCIDENTS: dict[str, Callable[[list[Sent], Incident, Device], None]] = {
    "replay": _replay,
    "forge": _forge,
    "noise": _noise,
    "checksum": _checksum,
    "cut": _cut,
    "lost": _lost,
}


def record_day(building: Building) -> list[Sent]:
    """Every telegram of the day in the order of reception, with the truth about it."""
    day = [sent for device in building.device for sent in _send_day(building, device) if sent.at < _DAY * 1000]
    for incident in building.incident:
        _INCIDENTS[incident.kind](day, incident, building.find(incident.device))
    return sorted(day, key=lambda one: (one.at, one.device.address))


# -- files ------------------------------------------------------------------------------------


def _moment(building: Building, sent: Sent) -> str:
    whole, part = divmod(sent.at, 1000)
    clock = Scene(building, sent.device, 0).clock(0) + timedelta(seconds=whole)
    return f"{clock:%Y-%m-%d %H:%M:%S}.{part:03d}"


def _radio_line(building: Building, sent: Sent) -> str:
    ident = sent.octets[4:8][::-1].hex().upper()
    crc = 0 if sent.damaged else 1
    return f"{sent.device.mode}1;{crc};1;{_moment(building, sent)};{sent.rssi};;{ident};0x{sent.octets.hex().upper()}"


def _wired_line(building: Building, sent: Sent) -> str:
    row = {"telegram": sent.octets.hex().upper(), "received_at": _moment(building, sent), "mode": "wired"}
    return msgspec.json.encode(row).decode()


def key_files(building: Building) -> tuple[str, str]:
    """The key file as it is on that day, and with all keys right."""
    known, complete = ["address,key,label"], ["address,key,label"]
    for device in building.device:
        if device.security == "none":
            continue
        right, address = demo_key(building.seed, device.meter), device.meter
        complete.append(f"{address},{right.hex().upper()},{device.label}")
        if device.key != "late":
            key = right if device.key == "known" else demo_key(building.seed + "/wrong", Address.parse(device.address))
            known.append(f"{address},{key.hex().upper()},{device.label}")
    return "\n".join(known) + "\n", "\n".join(complete) + "\n"


def recording_files(building: Building | None = None) -> dict[str, bytes]:
    """The content of all files of the recording by name."""
    plan = building or read_building()
    day = record_day(plan)
    head = f"# {plan.name}: a made-up building, {plan.day}; written by openmetering.interfaces.demo.building"
    radio = [head, *(_radio_line(plan, sent) for sent in day if sent.rssi is not None)]
    wired = [_wired_line(plan, sent) for sent in day if sent.rssi is None]
    texts = ("\n".join(radio) + "\n", "\n".join(wired) + "\n", *key_files(plan))
    return {name: text.encode() for name, text in zip(FILES, texts, strict=True)}


def main(arguments: list[str]) -> None:
    """Write the files into a directory, by default the one of this package."""
    directory = Path(arguments[0]) if arguments else Path(__file__).parent
    for name, octets in recording_files().items():
        directory.joinpath(name).write_bytes(octets)
        print(f"{name:22} {len(octets):7} octets")


if __name__ == "__main__":
    main(sys.argv[1:])
