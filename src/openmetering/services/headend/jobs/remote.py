"""Exchanges for a gateway elsewhere, as messages (JSON) for a broker or an HTTPS connection.

    head-end --> gateway
        {"kind": "submit", "token": 1, "address": "ELS-12345678-33-03", "protocol": "sitp", "payload": Base64, "answer": true}
        {"kind": "withdraw", "token": 1}
        {"kind": "key", "address": "ELS-12345678-33-03", "key_id": 0, "version": 1, "wrapped": Base64}
    gateway --> head-end
        {"kind": "answered", "token": 1, "status": 0, "protocol": "sitp", "payload": Base64, "security": {...}}
        {"kind": "failed", "token": 1, "reason": "no-answer", "delivered": null}

A message may come twice (QoS 1): a gateway carries out a token once, however often it comes. Tokens are never used
twice, not even by a head-end that was started again. Application octets are secured end to end where the use case
demands it; a key for the link is wrapped (RFC 5649) under a secret that head-end and gateway share, bound to its
address, KeyID and KeyVersion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError, SecurityError
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, Failure, GiveKey, Submit, Withdraw
from openmetering.security import KeyRing
from openmetering.security.aes import BlockCipher, same
from openmetering.services.headend.jobs.carriers import CarriedOrder, CarriedResult, Deliver
from openmetering.telegram.model import PLAIN, SecurityReport

__all__ = [
    "AnsweredMessage",
    "FailedMessage",
    "KeyMessage",
    "OrderMessage",
    "RemoteCarrier",
    "ResultMessage",
    "SubmitMessage",
    "WithdrawMessage",
    "order_of",
    "read_order",
    "read_result",
    "result_message",
]

_LAST_LINK: Final = 0x0F
_BINDING: Final = 16


class SubmitMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="submit"):
    """Carry out an exchange. ``protocol`` None: a request for data (REQ-UD2) alone."""

    token: int
    address: str
    protocol: str | None = None
    payload: bytes = b""
    answer: bool = True


class WithdrawMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="withdraw"):
    """Forget an exchange."""

    token: int


class KeyMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="key"):
    """A key for the link, wrapped."""

    address: str
    key_id: int
    version: int
    wrapped: bytes


class AnsweredMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="answered"):
    """An exchange is complete."""

    token: int
    status: int
    protocol: str = ""
    payload: bytes = b""
    security: SecurityReport = PLAIN


class FailedMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="failed"):
    """An exchange is over without an answer."""

    token: int
    reason: Failure
    delivered: bool | None = None


OrderMessage = SubmitMessage | WithdrawMessage | KeyMessage
ResultMessage = AnsweredMessage | FailedMessage


def _decode(octets: bytes | str, kind: type) -> object:
    try:
        return msgspec.json.decode(octets, type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"this is no message of an exchange: {error}", code="message.invalid", layer="remote") from None


def read_order(octets: bytes | str) -> OrderMessage:
    """A message for a gateway. Raises InputError (``message.invalid``)"""
    found = _decode(octets, OrderMessage)  # type: ignore[arg-type]
    assert isinstance(found, OrderMessage)
    return found


def read_result(octets: bytes | str) -> CarriedResult:
    """A message of a gateway. Raises InputError (``message.invalid``)"""
    found = _decode(octets, ResultMessage)  # type: ignore[arg-type]
    if isinstance(found, AnsweredMessage):
        return Answered(found.token, found.status, found.protocol, found.payload, found.security)
    assert isinstance(found, FailedMessage)
    return Failed(found.token, found.reason, found.delivered)


def result_message(result: CarriedResult) -> bytes:
    """A result as the gateway sends it."""
    message: ResultMessage
    if isinstance(result, Answered):
        message = AnsweredMessage(result.token, result.status, result.protocol, result.payload, result.security)
    else:
        message = FailedMessage(result.token, result.reason, result.delivered)
    return msgspec.json.encode(message)


# -- keys for the link -----------------------------------------------------------------------------------


def _binding(address: str, key_id: int, version: int) -> bytes:
    return hashlib.sha256(f"{address}|{key_id}|{version}".encode()).digest()[:_BINDING]


def _key_message(secret: BlockCipher, order: GiveKey) -> KeyMessage:
    """Raises SecurityError (``key.misplaced``) for a key that no gateway may have."""
    if order.key_id > _LAST_LINK:
        raise SecurityError(f"key {order.key_id:02X}h is not for a gateway", address=str(order.address), code="key.misplaced")
    address = str(order.address)
    key = order.key.require(order.address.link_octets(), key_id=order.key_id, version=order.version)[0]
    wrapped = secret.wrap(_binding(address, order.key_id, order.version) + key.octets)
    return KeyMessage(address, order.key_id, order.version, wrapped)


def order_of(message: OrderMessage, secret: BlockCipher) -> CarriedOrder:
    """What a gateway machine is told.

    Raises WrongKey if a key was wrapped under another secret, SecurityError if it is not the one of its message or not
    for a gateway; EncodeError for an address that is none
    """
    if isinstance(message, WithdrawMessage):
        return Withdraw(message.token)
    address = Address.parse(message.address)
    if isinstance(message, SubmitMessage):
        command = None if message.protocol is None else Command(message.protocol, message.payload)
        return Submit(message.token, Exchange(address, command, message.answer))
    opened = secret.unwrap(message.wrapped)
    binding = _binding(message.address, message.key_id, message.version)
    if message.key_id > _LAST_LINK or not same(opened[:_BINDING], binding):
        raise SecurityError("the wrapped key is another one", address=message.address, code="key.misplaced")
    ring = KeyRing()
    ring.add(address.link_octets(), opened[_BINDING:], message.key_id, message.version)
    return GiveKey(address, ring, message.key_id, message.version)


# -- both ends -------------------------------------------------------------------------------------------


class RemoteCarrier:
    """The carrier of the head-end: ``publish`` hands a message to the broker (it may raise TransportError), ``arrived``
    takes those of the gateway."""

    __slots__ = ("_deliver", "_publish", "_secret", "_serves", "name")

    def __init__(self, name: str, serves: Callable[[Address], bool], publish: Callable[[bytes], None], secret: bytes) -> None:
        self.name = name
        self._serves = serves
        self._publish = publish
        self._secret = BlockCipher(secret)
        self._deliver: Deliver | None = None

    def __repr__(self) -> str:
        return f"<RemoteCarrier {self.name}>"

    def serves(self, device: Address) -> bool:
        """True if the gateway hears the device, as far as is known."""
        return self._serves(device)

    def send(self, order: CarriedOrder) -> None:
        """Publish an order. Raises TransportError"""
        self._publish(msgspec.json.encode(self._message(order)))

    def _message(self, order: CarriedOrder) -> OrderMessage:
        if isinstance(order, Withdraw):
            return WithdrawMessage(order.token)
        if isinstance(order, GiveKey):
            return _key_message(self._secret, order)
        exchange = order.exchange
        command = exchange.command
        protocol, payload = (None, b"") if command is None else (command.protocol, command.payload)
        return SubmitMessage(order.token, str(exchange.address), protocol, payload, exchange.answer)

    def listen(self, deliver: Deliver) -> None:
        """Where results go."""
        self._deliver = deliver

    def arrived(self, octets: bytes | str) -> None:
        """A message of the gateway. Raises InputError (``message.invalid``)"""
        result = read_result(octets)
        if self._deliver is not None:
            self._deliver(result)
