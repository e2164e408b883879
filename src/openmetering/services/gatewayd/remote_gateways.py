"""The head-end's side of gateways elsewhere: their telegrams, and carriers for jobs through them.

    runner of jobs --Submit, Withdraw, GiveKey--> RemoteCarrier --orders--> Receiver --reply--> gateway
    runner of jobs <-------Answered, Failed------ RemoteCarrier <-results-- Receiver <-report-- gateway

The name of an order is made of its token, which a head-end never uses twice; so a gateway carries each out once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from openmetering.codec.address import Address
from openmetering.services.gatewayd.messages import Carry, LinkKey, News, Order, Recall, Report, Result
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.headend.jobs.remote import (
    KeyMessage,
    OrderMessage,
    RemoteCarrier,
    SubmitMessage,
    WithdrawMessage,
    read_order,
    result_message,
)
from openmetering.transport.reception import Reception

__all__ = ["RemoteGateways"]

_TOKEN: Final = "x"


def _order(message: OrderMessage) -> Order:
    if isinstance(message, SubmitMessage):
        return Carry(f"{_TOKEN}{message.token}", message.address, message.protocol or "", message.payload, message.answer)
    if isinstance(message, WithdrawMessage):
        return Recall(f"recall-{_TOKEN}{message.token}", f"{_TOKEN}{message.token}")
    assert isinstance(message, KeyMessage)
    name = f"key-{message.address}-{message.key_id}-{message.version}-{message.wrapped.hex()[-16:]}"
    return LinkKey(name, message.address, message.key_id, message.version, message.wrapped)


class RemoteGateways:
    """A receiver, and a carrier for every gateway. Arguments as of ``Receiver``."""

    def __init__(
        self,
        ingest: Callable[[Sequence[Reception], str], object],
        *,
        on_news: Callable[[str, News], None] | None = None,
        on_report: Callable[[Report], None] | None = None,
        on_order: Callable[[str], None] | None = None,
    ) -> None:
        ignore: Callable[..., None] = lambda *_: None  # noqa: E731
        self._carriers: dict[str, RemoteCarrier] = {}
        self.receiver = Receiver(
            ingest,
            on_result=self._result,
            on_news=on_news or ignore,
            on_report=on_report or ignore,
            on_order=on_order or ignore,
        )

    def carrier(self, gateway: str, serves: Callable[[Address], bool], secret: bytes) -> RemoteCarrier:
        """The carrier of a gateway; ``secret`` is the one the gateway has in ``secret_file``."""

        def publish(octets: bytes) -> None:
            self.receiver.order(gateway, _order(read_order(octets)))

        made = RemoteCarrier(gateway, serves, publish, secret)
        self._carriers[gateway] = made
        return made

    def _result(self, gateway: str, result: Result) -> None:
        """A result of an exchange goes to the runner of jobs; others need nobody."""
        carrier = self._carriers.get(gateway)
        token = result.id.removeprefix(_TOKEN)
        if carrier is None or token == result.id or not token.isdecimal():
            return
        event = result.event(int(token))
        if event is not None:
            carrier.arrived(result_message(event))
