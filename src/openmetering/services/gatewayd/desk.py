"""What a head-end orders, on its way to the stations, and what comes back: the rules around the machines.

    order --known?--> told again, nothing begun
          --address, protocol, time, key--> refused, with the reason
          --written down--> posted to the station that serves the device
    Answered, Failed --written down--> result, until the head-end knows it

Nothing here waits or opens anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from openmetering.codec.address import Address
from openmetering.errors import OmsError
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import Alarm, Demanded, DeviceLink, Forget, Installed, Register
from openmetering.protocol.gateway.partner_security import COMMANDS
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink
from openmetering.security.aes import BlockCipher
from openmetering.services.gatewayd.commands import CommandBook
from openmetering.services.gatewayd.messages import Carry, Dismiss, Enrol, LinkKey, News, Order, Recall, Result
from openmetering.services.gatewayd.stations import Station, StationEvent, WiredStation
from openmetering.services.headend.jobs.remote import KeyMessage, order_of

__all__ = ["Desk", "link_of"]

_NEWS_LIMIT: Final = 1_000
_REASONS: Final = {
    "replayed": "an old message came again",
    "counter": "its message counter nears the end: change the key",
    "unprotected": "an answer came without the protection of its profile",
    "key": "the new key is in use",
}


def link_of(order: Enrol, *, wired: bool) -> Register | RegisterSlave:
    """The device as machines want it. Raises NotRepresentable for addresses that are none."""
    address = Address.parse(order.address)
    if wired:
        slave = SlaveLink(
            address,
            order.primary,
            order.fabrication,
            order.profile,
            bool(order.snd_ud2),
            key_id=order.key_id,
            key_version=order.key_version,
        )
        return RegisterSlave(slave)
    return Register(
        DeviceLink(
            address,
            order.profile,
            Address.parse(order.adapter) if order.adapter else None,
            order.bidirectional,
            order.mode,
            snd_ud2=order.snd_ud2 is not False,
            largest=order.largest or 155,
            repeated=order.repeated,
            key_id=order.key_id,
            key_version=order.key_version,
        )
    )


class Desk:
    """Orders, results and news of one gateway. ``changed`` is called when there is something to tell.

    ``secret``  16 octets shared with the head-end, under which it wraps keys for the link; None: keys are refused
    """

    def __init__(
        self,
        book: CommandBook,
        stations: Mapping[str, Station],
        changed: Callable[[], None],
        clock: Callable[[], float],
        secret: bytes | None = None,
    ) -> None:
        self._book = book
        self._stations = stations
        self._changed = changed
        self._clock = clock
        self._secret = None if secret is None else BlockCipher(secret)
        self.news: deque[News] = deque(maxlen=_NEWS_LIMIT)

    @property
    def results(self) -> tuple[Result, ...]:
        """Results that the head-end does not know."""
        return self._book.results

    def told(self, names: tuple[str, ...]) -> None:
        """The head-end knows these results. Raises TransportError."""
        self._book.told(names)

    def started(self) -> None:
        """After a start: what became of orders that no machine remembers, nobody knows. Raises TransportError."""
        for source, token in self._book.open_exchanges():
            station = self._stations.get(source)
            if station is None or token not in station.open_tokens():
                self.hear(source, Failed(token, "power", delivered=None))

    # -- orders --------------------------------------------------------------------------------------

    def take(self, orders: tuple[Order, ...]) -> None:
        """What a head-end ordered. Raises TransportError if it cannot be written down."""
        for order in orders:
            if order.id in self._book:
                continue
            try:
                refusal = _ORDERS[type(order)](self, order)
            except OmsError as error:
                refusal = error.message
            if refusal:
                self._book.finish(Result(order.id, "refused", text=refusal))
            self._changed()

    def enrol(self, order: Enrol) -> str:
        """A device of the configuration or of a head-end; the empty text, or why not."""
        station = self._sender(order.source)
        if station is None:
            named = f"source {order.source!r}" if order.source else "single source"
            return f"there is no {named} that carries commands"
        station.post(link_of(order, wired=isinstance(station, WiredStation)))
        return ""

    def _sender(self, source: str) -> Station | None:
        if source:
            return self._stations.get(source)
        return next(iter(self._stations.values())) if len(self._stations) == 1 else None

    def _serving(self, address: str) -> Station | None:
        wanted = Address.parse(address)
        return next((station for station in self._stations.values() if station.serves(wanted)), None)

    def _enrol(self, order: Enrol) -> str:
        refusal = self.enrol(order)
        if not refusal:
            self._book.finish(Result(order.id, "done"))
        return refusal

    def _dismiss(self, order: Dismiss) -> str:
        station = self._serving(order.address)
        if station is not None:
            station.post(Forget(Address.parse(order.address)))
        self._book.finish(Result(order.id, "done"))
        return ""

    def _carry(self, order: Carry) -> str:
        if order.expires is not None and self._clock() > order.expires:
            return "it came too late"
        if order.protocol and order.protocol not in COMMANDS:
            return f"no command has protocol {order.protocol!r}"
        station = self._serving(order.address)
        if station is None:
            return f"{order.address} is not enrolled here"
        exchange = order.exchange()
        station.post(Submit(self._book.begin(order.id, station.name), exchange))
        return ""

    def _recall(self, order: Recall) -> str:
        found = self._book.token(order.order)
        if found is not None:
            token, source = found
            self._stations[source].post(Withdraw(token))
        self._book.finish(Result(order.id, "done"))
        return ""

    def _key(self, order: LinkKey) -> str:
        if self._secret is None:
            return "this gateway shares no secret with a head-end (gateway.secret_file)"
        event = order_of(KeyMessage(order.address, order.key_id, order.version, order.wrapped), self._secret)
        station = self._serving(order.address)
        if station is None or not isinstance(event, GiveKey):
            return f"{order.address} is not enrolled here"
        station.post(event)
        self._book.finish(Result(order.id, "done"))
        return ""

    # -- what comes back -------------------------------------------------------------------------------

    def hear(self, source: str, event: StationEvent) -> None:
        """Something that a machine says. Raises TransportError if a result cannot be written down."""
        if isinstance(event, Answered | Failed):
            name = self._book.name(event.token)
            if name is not None:
                self._book.finish(Result.of(name, event))
        else:
            self.news.append(_news(event, source, self._clock()))
        self._changed()


_ORDERS: Final[dict[type, Callable[..., str]]] = {
    Carry: Desk._carry,
    Recall: Desk._recall,
    Enrol: Desk._enrol,
    Dismiss: Desk._dismiss,
    LinkKey: Desk._key,
}


def _news(event: Alarm | Installed | Demanded, source: str, now: float) -> News:
    address = str(event.address)
    if isinstance(event, Alarm):
        return News(now, "alarm", _REASONS[event.reason], address, source)
    if isinstance(event, Installed):
        known = "of this gateway" if event.registered else "unknown"
        text = f"somebody installs a device ({known}{', confirmed' if event.confirmed else ''})"
        return News(now, "installed", text, address, source)
    return News(now, "demanded", f"it demanded access at {datetime.fromtimestamp(now, UTC):%H:%M:%S} UTC", address, source)
