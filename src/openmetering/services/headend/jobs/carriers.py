"""Who takes exchanges to devices and brings back what they say: the border between jobs and links.

    runner --Submit, Withdraw, GiveKey--> carrier --> gateway machine, wherever it runs
    runner <-------Answered, Failed------ carrier <--

A carrier never waits: it takes an order and tells the result later, from any thread. It may tell a result twice, or one
that nobody waits for any more; it need not tell one at all (the runner is patient, but not for ever). Of the keys it
gets those for the link only. Carriers: a gateway machine in this process (``link``), a gateway behind a broker
(``remote``), and a simulated world, which interfaces put in the same place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from openmetering.codec.address import Address
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw

__all__ = ["CarriedOrder", "CarriedResult", "Carrier", "Carriers", "Deliver", "HandedOver"]

CarriedOrder = Submit | Withdraw | GiveKey
CarriedResult = Answered | Failed
Deliver = Callable[[CarriedResult], None]


class Carrier(Protocol):
    """One way to devices."""

    name: str

    def serves(self, device: Address) -> bool:
        """True if it reaches the device, as far as it knows."""
        ...

    def send(self, order: CarriedOrder) -> None:
        """Take an order; does not wait. Raises TransportError if it cannot be taken: nothing of it has left."""
        ...

    def listen(self, deliver: Deliver) -> None:
        """Where results go from now on."""
        ...


class Carriers:
    """All carriers; the one added first that serves a device gets its orders. Any thread may add and remove."""

    __slots__ = ("_carriers", "_deliver", "_lock")

    def __init__(self, *carriers: Carrier) -> None:
        self._lock = threading.Lock()
        self._deliver: Deliver | None = None
        self._carriers: tuple[Carrier, ...] = ()
        for carrier in carriers:
            self.add(carrier)

    def listen(self, deliver: Deliver) -> None:
        """Where results of all carriers go, those to come included."""
        with self._lock:
            self._deliver = deliver
            for carrier in self._carriers:
                carrier.listen(deliver)

    def add(self, carrier: Carrier) -> None:
        """Another way to devices; one of the same name is replaced."""
        with self._lock:
            others = tuple(one for one in self._carriers if one.name != carrier.name)
            self._carriers = (*others, carrier)
            if self._deliver is not None:
                carrier.listen(self._deliver)

    def remove(self, name: str) -> None:
        """Use it no more; what it was given may still come back."""
        with self._lock:
            self._carriers = tuple(one for one in self._carriers if one.name != name)

    def find(self, device: Address) -> Carrier | None:
        """Who serves a device; None if nobody does."""
        return next((one for one in self._carriers if one.serves(device)), None)


class HandedOver:
    """A carrier whose orders go to a function, and whose results are told with ``deliver``: for a gateway elsewhere in
    this process, a simulated world, or tests."""

    __slots__ = ("_deliver", "_hand_over", "_serves", "name")

    def __init__(self, name: str, serves: Callable[[Address], bool], hand_over: Callable[[CarriedOrder], None]) -> None:
        self.name = name
        self._serves = serves
        self._hand_over = hand_over
        self._deliver: Deliver | None = None

    def serves(self, device: Address) -> bool:
        """True if it reaches the device."""
        return self._serves(device)

    def send(self, order: CarriedOrder) -> None:
        """Hand the order over. Raises TransportError if the function does."""
        self._hand_over(order)

    def listen(self, deliver: Deliver) -> None:
        """Where results go."""
        self._deliver = deliver

    def deliver(self, result: CarriedResult) -> None:
        """Tell a result; one that comes before anybody listens is dropped."""
        if self._deliver is not None:
            self._deliver(result)
