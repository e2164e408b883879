"""Writing octets to standard output, all of them."""

from __future__ import annotations

import sys
from typing import IO

__all__ = ["Whole", "write_stdout"]


class Whole:
    """Octets to a stream that may be unbuffered.

    With PYTHONUNBUFFERED or ``python -u`` standard output is raw, and a raw ``write`` that is
    interrupted by a signal writes a part only and says how much.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.closed = False  # pyarrow asks

    def write(self, octets: bytes) -> int:
        """Write all octets."""
        left = memoryview(octets)
        while left:
            left = left[self._out.write(left) or 0 :]
        return len(octets)

    def flush(self) -> None:
        """Pass on what is buffered."""
        self._out.flush()

    def isatty(self) -> bool:
        """True if a person reads it."""
        return self._out.isatty()


def write_stdout(octets: bytes) -> None:
    """All octets to standard output, at once."""
    out = Whole(sys.stdout.buffer)
    out.write(octets)
    out.flush()
