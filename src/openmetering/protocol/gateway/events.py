"""What a gateway is told and what it tells, its configuration and its memory.

in    PowerUp, Heard, Sent (events.py); Submit, Withdraw, GiveKey (exchange.py); Register, Forget
out   Transmit (events.py); Answered, Failed (exchange.py); Received, Installed, Demanded, Alarm, Persist
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.access import AccessMemory
from openmetering.protocol.gateway.collision import TRIES
from openmetering.protocol.gateway.partner_security import SecurityMemory
from openmetering.protocol.radio.datagram import Mode
from openmetering.telegram.model import Telegram

__all__ = [
    "Alarm",
    "DeviceLink",
    "Demanded",
    "Forget",
    "GatewayConfig",
    "GatewayInput",
    "GatewayMemory",
    "GatewayOutput",
    "Installed",
    "OpenOrder",
    "Persist",
    "Received",
    "Register",
]


class DeviceLink(msgspec.Struct, frozen=True):
    """How a device is reached and protected.

    ``address``  of the application device (ALA); ``adapter`` the RF adapter in front of it (its LLA)
    ``profile``  none, A, B or D; ``key_id`` 00..0F; ``key_version`` None: the version of the key in the ring
    ``mode``     radio mode; ``ell`` False for devices of modes S and T that know no extended link layer
    ``snd_ud2``  False: never try SND-UD2
    ``largest``  L that the device can receive: 155, or 255 with profile C or firmware update over radio
    ``repeated`` it is reached through a bidirectional repeater: windows behind repeated copies count as well (H = 1)
    """

    address: Address
    profile: str = "none"
    adapter: Address | None = None
    bidirectional: bool = True
    mode: Mode = "C"
    ell: bool = True
    snd_ud2: bool = True
    largest: int = 155
    repeated: bool = False
    key_id: int = 0
    key_version: int | None = None

    @property
    def sender(self) -> Address:
        """LLA of its datagrams."""
        return self.adapter or self.address


class GatewayConfig(msgspec.Struct, frozen=True):
    """Address and habits of a gateway; times in seconds.

    ``service_tool``     not the allocated gateway: its datagrams carry an ELLA, answers without one are not its own
    ``idis``             no ELLA for adapters (Annex E, E.2.3) in place of the adapter's address
    ``mode``             radio mode for devices that are not registered
    ``tries``            N of Annex I; ``renewal_tries`` for commands of key renewal (Annex F Figure F.C.4)
    ``access_timeout``   longest wait for a window; 4 h is the longest update interval of mode C
    ``busy_delay``       between two requests to a busy device, shorter than its t_TO of 25 s to keep the session open;
                         ``busy_limit`` for commands, ``validation_limit`` and ``activation_limit`` of an image
    ``linger``           how long a session stays open without work, waiting for the next command
    ``counter_step``     CGW advances by it: the device may send that many messages before a command is out of date
    ``accepting``        confirm SND-IR of devices that are not registered
    ``greeting``         answer SND-IR with SND-NKE ("I can hear you")
    ``read``             which telegrams are opened; the others come as ``unread``
    ``persist_every``    how often verified counters of devices are written down without another reason; None: never
    """

    address: Address
    service_tool: bool = False
    idis: bool = False
    mode: Mode = "C"
    tries: int = TRIES
    renewal_tries: int = 3
    access_timeout: float = 14_400.0
    busy_delay: float = 10.0
    busy_limit: float = 120.0
    validation_limit: float = 300.0
    activation_limit: float = 600.0
    linger: float = 0.0
    counter_step: int = 64
    counter_reserve: int = 100
    accepting: bool = False
    greeting: bool = True
    read: Literal["all", "registered"] = "all"
    persist_every: float | None = 900.0


class OpenOrder(msgspec.Struct, frozen=True):
    """An exchange that is not finished; ``sent`` False: nothing of it has left."""

    token: int
    sent: bool = False


class GatewayMemory(msgspec.Struct, frozen=True):
    """What must survive a power cut. It holds keys."""

    security: SecurityMemory = SecurityMemory()
    links: tuple[DeviceLink, ...] = ()
    access: tuple[AccessMemory, ...] = ()
    orders: tuple[OpenOrder, ...] = ()
    without_snd_ud2: tuple[Address, ...] = ()


# -- in ---------------------------------------------------------------------------------------


class Register(msgspec.Struct, frozen=True):
    """A device belongs to this gateway (from now on, or with another description)."""

    link: DeviceLink


class Forget(msgspec.Struct, frozen=True):
    """A device does not belong to this gateway any more; its open exchanges fail as withdrawn."""

    address: Address


# -- out --------------------------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True):
    """A telegram was heard. ``telegram`` is None where it was not opened (unread, repeated copies).

    ``verdict``  new; duplicate (a repeater's copy, a repetition); replayed (an old message counter);
                 unreadable (no key, wrong key, damaged); unread (not opened, see ``GatewayConfig.read``)
    """

    telegram: Telegram | None
    frame: bytes
    rssi: float | None
    verdict: Literal["new", "duplicate", "replayed", "unreadable", "unread"]


class Installed(msgspec.Struct, frozen=True):
    """SND-IR was heard: somebody installs a device.

    ``registered``  it belongs to this gateway; ``confirmed`` CNF-IR was sent
    ``adapter``     the sender where it is another than the device
    """

    address: Address
    adapter: Address | None
    registered: bool
    confirmed: bool
    telegram: Telegram | None = None


class Demanded(msgspec.Struct, frozen=True):
    """A device demanded access (ACC-DMD); it was acknowledged and is asked for its data, which come as ``Received``."""

    address: Address


class Alarm(msgspec.Struct, frozen=True):
    """Something an operator should know about a device.

    ``reason``  replayed: an old message came again; counter: its message counter nears the end, change the key;
                unprotected: an answer came without the protection of its profile; key: the new key is in use
    """

    address: Address
    reason: Literal["replayed", "counter", "unprotected", "key"]


class Persist(msgspec.Struct, frozen=True):
    """Store the memory before anything that follows in the same list is carried out."""

    memory: GatewayMemory


GatewayInput = PowerUp | Heard | Sent | Submit | Withdraw | GiveKey | Register | Forget
GatewayOutput = Transmit | Received | Answered | Failed | Installed | Demanded | Alarm | Persist
