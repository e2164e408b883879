"""What SIGTERM and SIGINT do to a program without an event loop."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from openmetering.services.signals import Ending

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_prepared_is_broken_off(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as broken, Ending():
        signal.raise_signal(number)
    assert broken.value.code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_runs_is_told(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Ending() as ending:
        ending.awaited()
        looks = [ending.wanted]
        signal.raise_signal(number)
        ending.wait()
        assert [*looks, ending.wanted] == [False, True]
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_at_once() -> None:
    script = (
        "import signal\nfrom openmetering.services.signals import Ending\n"
        "with Ending() as ending:\n    ending.awaited()\n"
        "    signal.raise_signal(signal.SIGTERM)\n    signal.raise_signal(signal.SIGINT)\n    print('lived on')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stdout == ""
