"""openmetering: the Open Metering System and M-Bus, both directions.

>>> import openmetering as om
>>> frame = bytes.fromhex("6820206808FD7278563412931533032A0000000C1427048502046D32371F1502FD1700008916")
>>> for record in om.decode(frame).records:
...     print(record)
volume: 28504.27 m3
date time: 2008-05-31T23:50
error flags: 0
"""

from openmetering.codec.address import Address
from openmetering.codec.apl.format import FormatStore, RecordFormat
from openmetering.codec.apl.records import Record
from openmetering.errors import (
    AuthenticationFailed,
    BadChecksum,
    DecodeError,
    EncodeError,
    ExchangeFailed,
    Fault,
    InputError,
    KeyNotFound,
    MalformedRecord,
    NotRepresentable,
    OmsError,
    OutOfRange,
    ProtocolError,
    Refused,
    Replayed,
    SecurityError,
    TransportError,
    Truncated,
    UnknownControlInformation,
    UnsupportedSecurity,
    WrongKey,
)
from openmetering.security import CounterLedger, Key, KeyRing
from openmetering.telegram import (
    STRICT,
    TOLERANT,
    Answer,
    Decoder,
    Meter,
    Policy,
    SecurityReport,
    Telegram,
    answer,
    answer_json,
    compose,
    decode,
    encode,
    encode_fragments,
    examine,
)
from openmetering.wire.types import MeterTime

__version__ = "0.1.0"

__all__ = [
    "STRICT",
    "TOLERANT",
    "Address",
    "Answer",
    "AuthenticationFailed",
    "BadChecksum",
    "CounterLedger",
    "DecodeError",
    "Decoder",
    "EncodeError",
    "ExchangeFailed",
    "Fault",
    "FormatStore",
    "InputError",
    "Key",
    "KeyNotFound",
    "KeyRing",
    "MalformedRecord",
    "Meter",
    "MeterTime",
    "NotRepresentable",
    "OmsError",
    "OutOfRange",
    "Policy",
    "ProtocolError",
    "Record",
    "RecordFormat",
    "Refused",
    "Replayed",
    "SecurityError",
    "SecurityReport",
    "Telegram",
    "TransportError",
    "Truncated",
    "UnknownControlInformation",
    "UnsupportedSecurity",
    "WrongKey",
    "answer",
    "answer_json",
    "compose",
    "decode",
    "encode",
    "encode_fragments",
    "examine",
]
