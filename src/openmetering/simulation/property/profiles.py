"""A meter that sends compact profiles for TAF 7 (OMS Volume 2 Annex R): the last minutes in each telegram, so that a lost one
leaves no hole.

    spacing     6 s of electricity: the window of a quarter of an hour (9 s) / 1.5
    values      3 x nominal interval / spacing + 2: each moment is in three telegrams
    base value  as old as the actuality duration says (3 s), storage 3
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from openmetering.codec.address import Address
from openmetering.codec.apl.profile import Spacing, pack
from openmetering.codec.apl.records import make, read_header
from openmetering.security.aes import BlockCipher
from openmetering.simulation.property.meters import MEDIA, PropertyDevice, telegram
from openmetering.transport.reception import Reception

__all__ = ["CompactProfileMeter"]

_AGE: Final = 3
_HEAD: Final = bytes.fromhex("CE0103")
_ACTUALITY: Final = bytes.fromhex("C10174")


class CompactProfileMeter:
    """An electricity meter; ``register`` gives its reading in Wh at a time."""

    def __init__(
        self, address: Address, key: bytes, register: Callable[[float], int], *, every: float = 120.0, spacing: int = 6
    ) -> None:
        self._device = PropertyDevice(address, key, 0.0)
        self._cipher = BlockCipher(key)
        self._register = register
        self.every, self.spacing = every, spacing
        self.values = int(3 * every / spacing) + 2

    def frame(self, at: float, access_number: int) -> bytes:
        """The telegram that is sent at a time."""
        header, _ = read_header(_HEAD, 0)
        base = make(header, Decimal(self._register(at - _AGE)))
        older = [Decimal(self._register(at - _AGE - self.spacing * (number + 1))) for number in range(self.values - 1)]
        profile = pack(base, older, spacing=Spacing.of(self.spacing, "s", element=1), kind="inverse")
        records = base.octets() + profile.octets() + _ACTUALITY + bytes((_AGE,))
        return telegram(self._device, MEDIA["electricity"], access_number, 0, records, self._cipher, hop=False)

    def receptions(self, begin: float, end: float, *, lost: float, seed: int, burst: int = 1) -> Iterator[Reception]:
        """What a gateway hears in a time; ``lost`` is the share that it does not, in runs of ``burst`` telegrams."""
        dice = random.Random(seed)
        at, number, silent = begin, 0, 0
        while at < end:
            number += 1
            if silent:
                silent -= 1
            elif dice.random() < lost / burst:
                silent = burst - 1
            else:
                yield Reception(self.frame(at, number), at, "gateway", crc=True)
            at += self.every + dice.random() * 2.0 - 1.0
