"""The times of a wired line, in seconds and in bits.

Source: EN 13757-2 (times of the link layer, clauses to confirm); OMS Volume 2 Annex P release C, P-15, P-16 and
Figure P.3; The M-Bus: A Documentation, Rev. 4.8.
"""

from __future__ import annotations

import msgspec

__all__ = ["ANSWER_BITS", "ANSWER_SECONDS", "CHARACTER", "IDLE_BITS", "LineRate", "LineTiming", "SHORTEST_BITS", "SILENCE_BITS"]

CHARACTER = 11  #: bits of a character: start, 8 data, parity, stop
SHORTEST_BITS = 11  #: an answer does not begin earlier
ANSWER_BITS, ANSWER_SECONDS = 330, 0.05  #: an answer does not begin later than their sum
SILENCE_BITS = 22  #: pause that ends a disturbed frame
IDLE_BITS = 33  #: pause of the master after a failure
QUICK_BITS = 33  #: longest wait of a quick poll with REQ-UD1, 11..33 (The M-Bus: A Documentation)


class LineRate(msgspec.Struct, frozen=True):
    """Out of a machine: it talks and listens at this rate (bit/s) from now on; what it sent before is not touched."""

    baud: int


class LineTiming(msgspec.Struct, frozen=True):
    """The times of a line in seconds.

    ``baud``     bit/s
    ``latency``  what converter and network add to an answer
    ``gap``      the longest pause inside a frame that is still one frame (octets come in lumps through converters)
    """

    baud: int = 2400
    latency: float = 0.1
    gap: float = 0.1

    def bits(self, count: float) -> float:
        """Time of a number of bits."""
        return count / self.baud

    def airtime(self, octets: int) -> float:
        """Time that octets take on the line."""
        return self.bits(octets * CHARACTER)

    @property
    def answer(self) -> float:
        """Longest time to the first octet of an answer: 330 bits, 50 ms, the latency. Source as above, P-15."""
        return self.bits(ANSWER_BITS) + ANSWER_SECONDS + self.latency

    @property
    def quick(self) -> float:
        """Longest time to the first octet in a quick poll for alarms: 33 bits and its character, the latency."""
        return self.bits(QUICK_BITS + CHARACTER) + self.latency

    @property
    def silence(self) -> float:
        """Pause that ends a frame: 22 bits at least."""
        return max(self.bits(SILENCE_BITS), self.gap) + self.latency

    @property
    def idle(self) -> float:
        """Pause after a failure: 33 bits."""
        return self.bits(IDLE_BITS)
