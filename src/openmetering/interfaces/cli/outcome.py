"""What became of the telegrams of a command, and the exit code that says so."""

from __future__ import annotations

__all__ = ["Outcome"]


class Outcome:
    """Counts of decoded, undecodable and locked telegrams."""

    __slots__ = ("decoded", "failed", "locked")

    def __init__(self) -> None:
        self.decoded = 0
        self.failed = 0
        self.locked = 0

    def count(self, code: str | None) -> None:
        """One telegram: its fault code, or None."""
        if code is None:
            self.decoded += 1
        elif code.startswith("key."):
            self.locked += 1
        else:
            self.failed += 1

    @property
    def exit_code(self) -> int:
        """0 all decoded, 3 some not decodable, 4 only keys or authentication missing."""
        return 3 if self.failed else 4 if self.locked else 0
