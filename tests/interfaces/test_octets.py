"""All octets reach the output, whatever one write takes."""

from __future__ import annotations

import io

import pytest

from openmetering.interfaces.cli.octets import Whole, write_stdout


class Narrow(io.BytesIO):
    """A raw stream that takes a few octets at a time."""

    def write(self, octets: object) -> int:
        return super().write(memoryview(octets)[:3])  # type: ignore[arg-type]


@pytest.mark.parametrize("octets", [b"", b"ab", b"abcdefgh"])
def test_short_writes_are_continued(octets: bytes) -> None:
    narrow = Narrow()
    out = Whole(narrow)
    assert out.write(octets) == len(octets)
    out.flush()
    assert narrow.getvalue() == octets
    assert not out.isatty()
    assert not out.closed


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_stdout(b"whole")
    assert capfdbinary.readouterr().out == b"whole"
