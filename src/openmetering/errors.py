"""The one exception tree of openmetering.

    OmsError                          code, layer, offset, message
      DecodeError                     the octets of a peer are at fault
        Truncated                     fewer octets than announced
        BadChecksum                   link CRC, FT1.2 checksum, payload CRC
        UnknownControlInformation     a CI field that cannot be followed
        MalformedRecord               the record structure breaks
      EncodeError                     the caller asks for what cannot be sent (field, value)
        OutOfRange                    a value does not fit its field
        NotRepresentable              there is no coding for the value
      SecurityError                   keys, proofs and counters (address)
        KeyNotFound                   no key for this address
        WrongKey                      the key does not open the message
        AuthenticationFailed          MAC or tag differ
        Replayed                      the message counter did not advance
        UnsupportedSecurity           a security mode that is recognised, not opened
      ProtocolError                   a machine got an event its state does not allow
      ExchangeFailed                  a device did not answer (reason, delivered)
      Refused                         a device answered that it will not (error, status)
      TransportError                  wraps OSError at the door
      InputError                      a file or an option of the user cannot be used

A decoder raises nothing else, whatever the octets. Every error carries a stable,
machine-readable ``code``; all codes stand in ``tables/faults.csv``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AuthenticationFailed",
    "BadChecksum",
    "DecodeError",
    "EncodeError",
    "ExchangeFailed",
    "Fault",
    "InputError",
    "KeyNotFound",
    "MalformedRecord",
    "NotRepresentable",
    "OmsError",
    "OutOfRange",
    "ProtocolError",
    "Refused",
    "Replayed",
    "SecurityError",
    "TransportError",
    "Truncated",
    "UnknownControlInformation",
    "UnsupportedSecurity",
    "WrongKey",
]


class Fault(msgspec.Struct, frozen=True):
    """One fault as a value: what warnings and JSON answers carry.

    ``offset`` counts octets from the start of the named layer's input (for layer
    ``frame`` the frame itself); None where no single octet is to blame.
    """

    code: str
    layer: str
    offset: int | None
    message: str


class OmsError(Exception):
    """Base of all errors of openmetering."""

    code = "oms.error"

    def __init__(self, message: str, *, code: str | None = None, layer: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.layer = layer
        self.offset = offset
        if code is not None:
            self.code = code
        #: what was decoded before the fault; set by ``telegram.decode``
        self.telegram: Any = None

    @property
    def fault(self) -> Fault:
        """The error as a value."""
        return Fault(self.code, self.layer, self.offset, self.message)


class DecodeError(OmsError):
    """Octets that do not follow the standard. ``octets`` holds the input of the layer."""

    code = "frame.invalid"

    def __init__(
        self,
        message: str,
        *,
        layer: str,
        offset: int | None = None,
        octets: bytes = b"",
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code, layer=layer, offset=offset)
        self.octets = octets


class Truncated(DecodeError):
    """Fewer octets than the layer announces."""

    code = "frame.truncated"


class BadChecksum(DecodeError):
    """A CRC or checksum differs."""

    code = "frame.crc"


class UnknownControlInformation(DecodeError):
    """A CI field that no layer can follow."""

    code = "ci.unknown"


class MalformedRecord(DecodeError):
    """The record structure breaks; records before it are kept."""

    code = "record.malformed"


class EncodeError(OmsError):
    """A value that cannot be sent."""

    code = "encode.invalid"

    def __init__(self, message: str, *, field: str = "", value: object = None, layer: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code, layer=layer)
        self.field = field
        self.value = value


class OutOfRange(EncodeError):
    """A value does not fit its field."""

    code = "encode.range"


class NotRepresentable(EncodeError):
    """There is no coding for the value."""

    code = "encode.not_representable"


class SecurityError(OmsError):
    """Keys, proofs, counters. ``address`` is text, never key material."""

    code = "security.error"

    def __init__(
        self, message: str, *, address: str = "", code: str | None = None, layer: str = "security", offset: int | None = None
    ) -> None:
        super().__init__(message, code=code, layer=layer, offset=offset)
        self.address = address


class KeyNotFound(SecurityError):
    """No key for this address."""

    code = "key.missing"


class WrongKey(SecurityError):
    """The key does not open the message."""

    code = "key.mismatch"


class AuthenticationFailed(SecurityError):
    """MAC or tag differ: wrong key or forged message."""

    code = "key.mismatch.mac"


class Replayed(SecurityError):
    """The message counter did not advance."""

    code = "counter.replayed"


class UnsupportedSecurity(SecurityError):
    """A security mode that is recognised and reported, not opened."""

    code = "security.unsupported"


class ProtocolError(OmsError):
    """A machine got an event that its state does not allow."""

    code = "protocol.state"

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"event {event} is not allowed in state {state}", layer="protocol")
        self.state = state
        self.event = event


class ExchangeFailed(OmsError):
    """A device gave no answer. ``reason`` as in ``protocol.exchange.Failure``.

    ``delivered`` True: the command was acknowledged; False: it never left; None: nobody knows.
    """

    code = "exchange.failed"

    def __init__(self, message: str, *, reason: str, delivered: bool | None = None) -> None:
        super().__init__(message, layer="protocol", code="exchange." + reason.replace("-", "_"))
        self.reason = reason
        self.delivered = delivered


class Refused(OmsError):
    """A device answered that it will not: an application error code or a status of SITP, in words."""

    code = "device.refused"

    def __init__(self, message: str, *, error: int | None = None, status: int | None = None) -> None:
        super().__init__(message, layer="apl")
        self.error = error
        self.status = status


class TransportError(OmsError):
    """A door (serial line, socket, file) failed."""

    code = "transport.failed"


class InputError(OmsError):
    """A file or an option of the user cannot be used; the message says what to do."""

    code = "input.invalid"
