"""What a device does not forget: keys, counters, clock, positions, images. One value, saved before an answer is sent.

A power cut is a new machine around the memory of the old one; that is how tests cut the power at every step.
"""

from __future__ import annotations

import msgspec

__all__ = ["DeviceMemory", "ImageMemory", "KeySlot"]


class KeySlot(msgspec.Struct):
    """A stored key. ``active`` False: transferred, not activated. ``counter``: last accepted key counter (ASP10) or, for a
    communication key, the highest message counter used or taken over (CM)."""

    key_id: int
    version: int
    octets: bytes
    active: bool = False
    counter: int = 0

    def __repr__(self) -> str:
        return f"<KeySlot id={self.key_id:02X} version={self.version:02X} active={self.active} counter={self.counter}>"


class ImageMemory(msgspec.Struct):
    """A firmware transfer: state of Figure M.2 (15 idle), what was prepared, the blocks that came.

    ``key_version``    of key 18h, with which the image is proven (FF: the active one)
    ``due``            when validation or installation go on, seconds
    ``installed``      identifier of the image that was installed last
    ``installations``  how often the installation of this image has begun
    ``changed``        when the last event came, seconds
    """

    state: int = 15
    identifier: bytes = b""
    image_size: int = 0
    block_size: int = 0
    mac: bytes = b""
    key_version: int = 0xFF
    blocks: dict[int, bytes] = {}
    due: float | None = None
    installed: bytes = b""
    installations: int = 0
    changed: float = 0.0


class DeviceMemory(msgspec.Struct):
    """Persistent state of a device.

    ``access_number``       last number of a synchronous transmission
    ``clock_offset``        seconds the clock of the device is ahead of ``now``
    ``clock_adjustment``    seconds still to be applied, and until when
    ``breaker``, ``output`` control state and output state of a disconnector: 0, 1, 2 (Annex M Table M.8)
    ``error_flags``         MM3! (bits 0..15); ``permanent_flags`` cannot be cleared
    ``primary_address``     wired, 0 = unconfigured
    ``due_date``            type G octets of the next due date, and of the last
    ``indexes``             UC-20b: tag -> integer in the unit of its record
    ``lists``               UC-14: application * 16 + block -> headers (DIB and VIB) of the points it holds now
    ``device_flags``        MM2! (bits 0..15), of the maker; ``permanent_device_flags`` cannot be cleared
    ``battery_days``        MM8! in days, None for a device without a battery
    ``alarm``               alarm octet that waits for REQ-UD1, 0 without an alarm
    ``pending``             commands with a delay: (time of execution, mark of the function and its data)
    """

    keys: list[KeySlot] = []
    access_number: int = 0
    transport_access_number: int = 0
    clock_offset: float = 0.0
    clock_adjustment: float = 0.0
    clock_adjusted_until: float | None = None
    breaker: int | None = None
    output: int | None = None
    error_flags: int = 0
    permanent_flags: int = 0
    status_bits: int = 0
    primary_address: int = 0
    baud: int = 2400
    due_date_next: bytes = b""
    due_date_last: bytes = b""
    ownership: str = ""
    address: bytes = b""
    indexes: dict[str, int] = {}
    lists: dict[int, list[bytes]] = {}
    device_flags: int = 0
    permanent_device_flags: int = 0
    battery_days: int | None = None
    alarm: int = 0
    image: ImageMemory = msgspec.field(default_factory=ImageMemory)
    pending: list[tuple[float, bytes]] = []
    credits: float = 4000.0
    executed: int = 0

    def key(self, key_id: int, version: int | None = None) -> KeySlot | None:
        """The active key of a KeyID, or the one of a version; None if there is none."""
        for slot in self.keys:
            if slot.key_id == key_id and (slot.active if version is None else slot.version == version):
                return slot
        return None
