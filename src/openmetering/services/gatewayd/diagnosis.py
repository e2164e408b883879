"""Why do I receive nothing? Seven stages from the device to the value; the first one that fails says what to do.

    device present -> octets -> sync -> CRC-good frames, by mode -> known meter -> key -> decoded

Each stage needs the one before it. What was seen is counted; ``stages`` draws the conclusions, and may be asked at any
time. The same stages are drawn from the health of a source in a running gateway (``of_health``), as far as that knows them.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.errors import TransportError
from openmetering.security import KeyRing
from openmetering.services.gatewayd.health import SourceState, crc_of, mode_of
from openmetering.telegram import Decoder
from openmetering.transport.reception import BadLine, Item, Reception

__all__ = ["Diagnosis", "Stage", "of_health"]

State = Literal["good", "stops", "open"]
_SHOWN: Final = 8
_METERS: Final = 10_000

_REMEDIES: Final = {
    "transport.open": "plug it in; your user must be in the group of the device (on Linux often dialout), and no other "
    "program may have it open",
    "transport.setup": "name the stick with ?stick= and its speed with ?baud=; unplug it and plug it in again",
    "transport.extra": "install what is missing",
    "transport.lost": "look at plug, cable and power",
}
_SERIAL = "serial"


class Stage(msgspec.Struct, frozen=True):
    """One stage. ``state`` good, stops (here it fails), or open (cannot be told, as nothing came so far)."""

    name: str
    state: State
    text: str
    remedy: str = ""


class _Meter:
    __slots__ = ("decoded", "error", "keyless", "known", "modes", "telegrams")

    def __init__(self, known: bool) -> None:
        self.known = known
        self.telegrams = 0
        self.decoded = 0
        self.keyless = 0
        self.error = ""
        self.modes: set[str] = set()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Diagnosis:
    """Collects what a source gives. ``keys`` of the meters that are looked for; None: any meter will do."""

    def __init__(self, kind: str, keys: KeyRing | None = None) -> None:
        self._kind = kind
        self._keys = keys
        self._decoder = Decoder(keys)
        self._failure: TransportError | None = None
        self._opened = False
        self._noise = 0
        self._bad_lines = 0
        self._last_bad = ""
        self._crc_bad = 0
        self._frames = 0
        self._by_mode: dict[str, int] = {}
        self._nobody = 0
        self._trouble = ""
        self.octets: int | None = None
        self._meters: dict[str, _Meter] = {}

    # -- what happens --------------------------------------------------------------------------------

    def opened(self) -> None:
        """The device is there."""
        self._opened = True

    def waited(self) -> None:
        """The time is over and the door has neither failed nor ended: where nobody counts octets it counts as open."""
        self._opened = self._opened or self._kind not in (_SERIAL, "wired")

    def failed(self, error: TransportError) -> None:
        """The door failed."""
        self._failure = error

    def heard(self, octets: int) -> None:
        """So many octets came in, before anything is known about them."""
        self._opened = True
        self.octets = (self.octets or 0) + octets

    def item(self, item: Item) -> None:
        """Something came out of the door."""
        self._opened = True
        if isinstance(item, Reception):
            self._reception(item)
        elif isinstance(item, BadLine):
            self._bad_lines += 1
            self._last_bad = item.error.message
            self._crc_bad += item.error.code == "input.crc"
        elif item.code == "input.noise":
            self._noise += 1
        elif item.level in ("warning", "error"):
            self._trouble = item.message

    def _reception(self, item: Reception) -> None:
        self._frames += 1
        if not crc_of(item):
            self._crc_bad += 1
            return
        mode = mode_of(item)
        self._by_mode[mode] = self._by_mode.get(mode, 0) + 1
        telegram = self._decoder.examine(item.frame, now=item.received_at)
        address = telegram.address
        if address is None:
            self._nobody += 1
            return
        name = str(address)
        meter = self._meters.get(name)
        if meter is None:
            if len(self._meters) >= _METERS:
                return
            known = self._keys is None or bool(self._keys.find(address.link_octets(), key_id=None))
            meter = self._meters[name] = _Meter(known)
        meter.telegrams += 1
        meter.modes.add(mode)
        error = telegram.error
        meter.keyless += error is not None and error.code == "key.missing"
        meter.decoded += error is None
        meter.error = "" if error is None else error.code

    # -- conclusions -----------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        """All stages; behind the one that stops the others are open."""
        found: list[Stage] = []
        for name, look in _STAGES:
            stops = bool(found) and found[-1].state != "good"
            found.append(Stage(name, "open", "") if stops else look(self))
        return tuple(found)

    @property
    def complete(self) -> bool:
        """True if every stage is good."""
        return all(stage.state == "good" for stage in self.stages())

    def _device(self) -> Stage:
        name = "device present"
        failure = self._failure
        if failure is not None and not self._opened:
            remedies = _REMEDIES if self._kind in (_SERIAL, "wired") else {}
            return Stage(name, "stops", failure.message, remedies.get(failure.code, "look at the message, and at the name"))
        if not self._opened:
            return Stage(name, "stops", "it could not be opened in time", _REMEDIES["transport.open"])
        return Stage(name, "good", "it is open")

    def _octets(self) -> Stage:
        name = "octets"
        came = self.octets or self._frames or self._bad_lines or self._noise
        if came:
            return Stage(name, "good", _count(self.octets, "octet") if self.octets else "something comes in")
        if self._trouble:
            return Stage(
                name, "stops", self._trouble, "ask the right slaves: address= or secondary=; look at the cable and its load"
            )
        remedies = {
            _SERIAL: "wait longer (many meters send only every few minutes, some only by day); choose the mode of the meters "
            "with ?mode= (ct hears C and T); look at the antenna",
            "wired": "look at cable, converter and speed (?baud=2400, 300, 9600)",
        }
        remedy = remedies.get(self._kind, "look whether the sender is running and sends to this place")
        return Stage(name, "stops", "nothing comes in", remedy)

    def _sync(self) -> Stage:
        name = "sync"
        if self._frames or self._crc_bad:
            return Stage(name, "good", f"{_count(self._frames + (0 if self._frames else self._crc_bad), 'frame')} found")
        if self._bad_lines:
            text = f"{_count(self._bad_lines, 'line')} came, none is a telegram; the last: {self._last_bad}"
            return Stage(name, "stops", text, "name the format with ?format=, or look whether the other program writes telegrams")
        text = f"octets come, but no frame begins in them ({_count(self._noise, 'piece')} skipped)"
        return Stage(name, "stops", text, "it may be another stick or speed: name them with ?stick= and ?baud=")

    def _crc(self) -> Stage:
        name = "CRC-good frames"
        good = sum(self._by_mode.values())
        if not good:
            return Stage(
                name,
                "stops",
                f"all of {_count(max(self._frames, self._crc_bad), 'frame')} are damaged",
                "the level is too low or too high: move the antenna, away from metal and from other transmitters",
            )
        modes = ", ".join(f"{mode} {count}" for mode, count in sorted(self._by_mode.items()))
        bad = f"; {self._crc_bad} damaged" if self._crc_bad else ""
        return Stage(name, "good", f"{modes}{bad}")

    def _meter(self) -> Stage:
        name = "known meter"
        seen = sorted(self._meters)
        known = [meter for meter in seen if self._meters[meter].known]
        listed = ", ".join(seen[:_SHOWN]) + (f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else "")
        if not seen:
            return Stage(
                name,
                "stops",
                "frames without an address only",
                "ask wired meters by secondary address, or note which one answers",
            )
        if not known:
            others = "wait for yours, look whether it is in range and in this mode, and whether its number is in the key file"
            return Stage(name, "stops", f"only others are heard: {listed}", others)
        return Stage(name, "good", f"{len(known)} of {len(seen)}: {listed}" if self._keys is not None else listed)

    def _key(self) -> Stage:
        name = "key"
        known = {name: meter for name, meter in self._meters.items() if meter.known}
        closed = [name for name, meter in known.items() if meter.keyless == meter.telegrams]
        if len(closed) == len(known):
            return Stage(
                name, "stops", f"there is no key for {', '.join(closed[:_SHOWN])}", "give the keys of the meters with --keys"
            )
        wrong = [name for name, meter in known.items() if not meter.decoded and meter.error.startswith("key.mismatch")]
        if wrong and len(wrong) + len(closed) == len(known):
            remedy = "compare number and key with the papers of the meter; ask for the present key, it may have been renewed"
            return Stage(name, "stops", f"the key does not open {', '.join(wrong[:_SHOWN])}", remedy)
        missing = f"; none for {', '.join(closed[:_SHOWN])}" if closed else ""
        return Stage(name, "good", f"{_count(len(known) - len(closed), 'meter')} can be opened{missing}")

    def _decoded(self) -> Stage:
        name = "decoded"
        good = [name for name, meter in self._meters.items() if meter.decoded and meter.known]
        if good:
            return Stage(
                name,
                "good",
                f"{_count(sum(self._meters[one].decoded for one in good), 'telegram')} of {', '.join(good[:_SHOWN])}",
            )
        errors = sorted({meter.error for meter in self._meters.values() if meter.error})
        return Stage(
            name,
            "stops",
            f"telegrams cannot be read: {', '.join(errors)}",
            "look at one with oms explain; report it if it is by the standard",
        )


_STAGES: Final = (
    ("device present", Diagnosis._device),
    ("octets", Diagnosis._octets),
    ("sync", Diagnosis._sync),
    ("CRC-good frames", Diagnosis._crc),
    ("known meter", Diagnosis._meter),
    ("key", Diagnosis._key),
    ("decoded", Diagnosis._decoded),
)


def of_health(source: SourceState) -> tuple[Stage, ...]:
    """The first four stages of a source in a running gateway; the others are the head-end's, which has the keys."""
    diagnosis = Diagnosis(_kind_of(source.at))
    counts = source.counts
    if source.state == "failed":
        diagnosis._failure = TransportError(source.trouble, code="transport.lost", layer="transport")
    diagnosis._opened = source.state in ("open", "ended")
    diagnosis._trouble = source.trouble
    diagnosis._frames, diagnosis._crc_bad = counts.receptions, counts.crc_bad
    diagnosis._bad_lines, diagnosis._noise, diagnosis._last_bad = counts.bad_lines, counts.noise, source.trouble
    if counts.crc_good:
        diagnosis._by_mode = dict(counts.by_mode)
    return diagnosis.stages()[:4]


def _kind_of(at: str) -> str:
    """Kind of a source string for the remedies."""
    scheme = at.partition(":")[0]
    return "wired" if scheme.startswith("mbus") else _SERIAL if scheme == "serial" or at.startswith("/dev/") else scheme
