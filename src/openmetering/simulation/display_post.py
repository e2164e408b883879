"""A consumer display in the world: it hears what its meters tell their consumer (UC-07b)."""

from __future__ import annotations

from typing import cast

from openmetering.codec.address import Address
from openmetering.protocol.machine import SansIO
from openmetering.protocol.radio.display import CONSUMER_KEY, ConsumerDisplay, Register, Shown
from openmetering.security import KeyRing
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.plan import DisplayPlan
from openmetering.simulation.post import Post
from openmetering.simulation.radio import Station

__all__ = ["DisplayPost"]


class DisplayPost(Post):
    """A display. Registrations and values survive a power cut: its machine is kept."""

    __slots__ = ("display",)

    def __init__(self, plan: DisplayPlan, kernel: Kernel, station: Station) -> None:
        self.display = ConsumerDisplay()
        super().__init__(plan.name, kernel, station, self._machine)

    def _machine(self) -> SansIO[object, object]:
        return cast("SansIO[object, object]", self.display)

    def show(self, address: Address, key: bytes) -> None:
        """Show a meter from now on; ``key`` is its key with KeyID 08. The display must have power."""
        keys = KeyRing()
        keys.add(address.link_octets(), key, CONSUMER_KEY)
        self.post(Register(address, keys))

    @property
    def latest(self) -> dict[Address, Shown]:
        """The last values of every meter."""
        return self.display.latest
