"""Words for the fields and bits of the declared layers.

The declarations say where a field stands; these tables say what its value means. A field or
bit that has no entry keeps its name and its number.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openmetering.codec.afl import FragmentationControl, KeyInformation, MessageControl
from openmetering.codec.apl.fixed import FixedStatus
from openmetering.codec.ell import CommunicationControl, SessionNumber
from openmetering.codec.link.control import ControlField
from openmetering.codec.tpl import (
    Configuration,
    ConfigurationA,
    ConfigurationB,
    ConfigurationD,
    ConfigurationDutch,
    Extension,
    ExtensionContent,
    rssi_dbm,
)
from openmetering.tables import (
    AFL_ALGORITHM_NAMES,
    AFL_ALGORITHMS,
    KEY_IDS,
    SECURITY_MODES,
    STATUS,
    status_flags,
)
from openmetering.telegram.anatomy.model import Bit
from openmetering.wire import BitField

__all__ = [
    "Words",
    "bits_of",
    "code",
    "place",
    "status_bits",
    "status_words",
    "words_of",
]


class Words(msgspec.Struct, frozen=True):
    """Value and meaning of a field."""

    field: str
    value: str
    meaning: str = ""
    secret: str = ""


def code(octet: int) -> str:
    """An octet as the standards write it: 7Ah."""
    return f"{octet:02X}h"


def place(lowest: int, width: int) -> str:
    """Name of a run of bits: ``7`` or ``5..4``."""
    return str(lowest) if width == 1 else f"{lowest + width - 1}..{lowest}"


# -- bits ---------------------------------------------------------------------------------------

_Meaning = tuple[str, ...] | Callable[[int], str]

_DELAY = ("slow response", "fast response")
_WINDOWS = (
    "no access",
    "bidirectional in general, no window now",
    "short window behind this transmission",
    "unlimited access until the next transmission",
)
_CONTENTS = ("standard data", "additional data", "static message (installation, management)", "reserved")


def _blocks(number: int) -> str:
    return (
        "everything is encrypted" if number == 15 else "nothing is encrypted" if not number else f"{number} blocks of 16 octets"
    )


def _octets(number: int) -> str:
    return "everything is encrypted" if number == 0xFF else "nothing is encrypted" if not number else f"{number} octets"


def _mode(number: int) -> str:
    mode = SECURITY_MODES[number]
    return mode.name + (f" (profile {mode.profile})" if mode.profile else "")


def _key_id(number: int) -> str:
    return KEY_IDS[number].name


def _algorithm(number: int) -> str:
    name = AFL_ALGORITHM_NAMES.get(number, "reserved")
    size = AFL_ALGORITHMS.get(number)
    return f"{name}, {size} octets" if size else name


def _derivation(number: int) -> str:
    return ("the key is used as it is", "key derived by CMAC", "reserved", "reserved")[number]


def _flag(zero: str, one: str) -> tuple[str, str]:
    return zero, one


def _fragment(number: int) -> str:
    return "whole message in one frame" if not number else f"fragment {number}"


_HOP = _flag("directly from the sender", "repeated on its way")
_SYNCHRONOUS = _flag("at any time", "at the regular time of the sender")
_HERE = _flag("not in this frame", "in this frame")
_BITS: dict[tuple[type[BitField], str], _Meaning] = {
    (ControlField, "primary_message"): ("answers a message", "starts an exchange"),
    (ControlField, "frame_count_valid"): ("frame count not used", "frame count used"),
    (ControlField, "access_demand"): ("no alarm data waiting", "alarm data waiting, ask with REQ-UD1"),
    (ControlField, "data_flow_control"): ("ready for more", "cannot take more now"),
    (CommunicationControl, "bidirectional"): ("sends only", "also receives"),
    (CommunicationControl, "fast_response"): _DELAY,
    (CommunicationControl, "synchronous"): _SYNCHRONOUS,
    (CommunicationControl, "hop"): _HOP,
    (CommunicationControl, "priority"): ("", "priority in a repeater"),
    (SessionNumber, "encryption"): lambda number: ("not encrypted", "AES-128-CTR")[number] if number < 2 else "reserved",
    (SessionNumber, "minutes"): lambda number: f"{number} min of the clock of the sender",
    (FragmentationControl, "fragment_id"): _fragment,
    (FragmentationControl, "more_fragments"): ("last or only frame of the message", "more fragments follow"),
    (FragmentationControl, "key_information_present"): _HERE,
    (FragmentationControl, "mac_present"): _HERE,
    (FragmentationControl, "counter_present"): _HERE,
    (FragmentationControl, "length_present"): _HERE,
    (FragmentationControl, "control_present"): _HERE,
    (MessageControl, "authentication_type"): _algorithm,
    (MessageControl, "key_information"): ("not in the message", "in the message"),
    (MessageControl, "counter"): ("not in the message", "in the message"),
    (MessageControl, "length"): ("not in the message", "in the message"),
    (KeyInformation, "key_id"): _key_id,
    (KeyInformation, "key_derivation"): _derivation,
    (Configuration, "mode"): _mode,
    (ConfigurationA, "hop"): _HOP,
    (ConfigurationA, "content"): lambda number: _CONTENTS[number],
    (ConfigurationA, "blocks"): _blocks,
    (ConfigurationA, "synchronous"): _SYNCHRONOUS,
    (ConfigurationA, "bidirectional"): ("sends only", "also receives"),
    (ConfigurationB, "content"): lambda number: _CONTENTS[number],
    (ConfigurationB, "blocks"): _blocks,
    (ConfigurationB, "padding"): ("", "padding behind the data"),
    (ConfigurationB, "counter_present"): ("no counter in this header", "counter in this header"),
    (ConfigurationD, "octets"): _octets,
    (ConfigurationD, "content"): lambda number: _CONTENTS[number],
    (ConfigurationD, "counter_present"): ("no counter in this header", "counter in this header"),
    (ConfigurationDutch, "key_id"): _key_id,
    (ConfigurationDutch, "key_derivation"): _derivation,
    (Extension, "key_id"): _key_id,
    (Extension, "key_derivation"): _derivation,
    (Extension, "version_present"): ("", "KeyVersion in this header"),
    (ExtensionContent, "option"): lambda number: "tag of 8 octets" if number == 1 else "",
    (FixedStatus, "binary"): ("counters are BCD", "counters are binary"),
    (FixedStatus, "fixed_date"): ("counters are actual values", "counters are values of the fixed date"),
}


_NAMES = {"key_id": "KeyID", "mac_present": "MAC present", "fragment_id": "fragment number"}


def _bit_meaning(kind: type[BitField], name: str, value: int) -> str:
    for base in kind.__mro__:
        meaning = _BITS.get((base, name))
        if meaning is not None:
            return meaning(value) if callable(meaning) else meaning[value]
    return ""


def bits_of(value: BitField, *, without: frozenset[str] = frozenset()) -> tuple[Bit, ...]:
    """The named bits of a field, highest first."""
    kind = type(value)
    named = sorted(((name, item) for name, item in kind.bits().items() if name not in without), key=lambda pair: -pair[1].lowest)
    return tuple(
        Bit(place(item.lowest, item.width), _NAMES.get(name, name.replace("_", " ")), number, _bit_meaning(kind, name, number))
        for name, item in named
        for number in [(int(value) & item.mask) >> item.lowest]
    )


# -- the status octet -----------------------------------------------------------------------------

_APPLICATION = {bit.value: bit.name for bit in STATUS if bit.mask == 0x03}


def status_bits(status: int, uplink: bool) -> tuple[Bit, ...]:
    """The bits of a status octet: flags of a meter, reception level of a gateway."""
    if not uplink:
        level = rssi_dbm(status)
        return (
            Bit("7..6", "reserved", status >> 6),
            Bit("5..0", "reception level", status & 0x3F, "not available" if level is None else f"{level} dBm"),
        )
    single = [
        Bit(str(bit.mask.bit_length() - 1), bit.name, int(bool(status & bit.mask)), bit.meaning if status & bit.mask else "")
        for bit in reversed(STATUS)
        if bit.mask != 0x03
    ]
    return (*single, Bit("1..0", "application", status & 3, _APPLICATION.get(status & 3, "no error")))


def status_words(status: int, uplink: bool) -> Words:
    """The status octet in words."""
    if uplink:
        return Words("status", code(status), ", ".join(status_flags(status)) or "no error reported")
    level = rssi_dbm(status)
    return Words(
        "status",
        code(status),
        "reception level not available" if level is None else f"the gateway hears the meter at {level} dBm",
    )


# -- fields of the declared layers ------------------------------------------------------------------


def _delay(value: int) -> str:
    control = CommunicationControl(value)
    access = _WINDOWS[int(control.bidirectional) << 1 | int(control.accessibility)]
    return f"{access}; {_SYNCHRONOUS[int(control.synchronous)]}"


def _session(value: int) -> str:
    number = SessionNumber(value)
    return _bit_meaning(SessionNumber, "encryption", int(number.encryption))


def _fragmentation(value: int) -> str:
    control = FragmentationControl(value)
    text = _fragment(int(control.fragment_id))
    return text + (", more follow" if control.more_fragments else ", the last" if control.fragment_id else "")


def _configuration(value: int) -> Words:
    mode = value >> 8 & 0x1F
    return Words("configuration", f"{value:04X}h", f"security mode {mode}: {_mode(mode)}")


_FIELDS: dict[tuple[str, str], Callable[[int], Words]] = {
    ("ell", "communication_control"): lambda n: Words("communication control", code(n), _delay(n)),
    ("ell", "access_number"): lambda n: Words("access number", str(n), "counts the transmissions of the sender"),
    ("ell", "session_number"): lambda n: Words("session number", f"{n:08X}h", _session(n)),
    ("ell", "payload_crc"): lambda n: Words("payload CRC", f"{n:04X}h", "CRC of everything behind it", "check"),
    ("afl", "length"): lambda n: Words("length (AFLL)", str(n), "octets of this layer behind the length"),
    ("afl", "fragmentation"): lambda n: Words("fragmentation control", f"{n:04X}h", _fragmentation(n)),
    ("afl", "message_control"): lambda n: Words("message control", code(n), "authentication by " + _algorithm(n & 0x0F)),
    ("afl", "key_information"): lambda n: Words("key information", f"{n:04X}h", f"{_key_id(n & 0x0F)}, version {n >> 8}"),
    ("afl", "counter"): lambda n: Words("message counter", str(n), "never repeats under a key"),
    ("tpl", "access_number"): lambda n: Words("access number", str(n), "tells repeated messages from new ones"),
    ("tpl", "configuration"): _configuration,
}


def words_of(layer: str, name: str, value: int) -> Words:
    """Name, value and meaning of a number in a declared layer."""
    words = _FIELDS.get((layer, name))
    return Words(name.replace("_", " "), str(int(value))) if words is None else words(int(value))
