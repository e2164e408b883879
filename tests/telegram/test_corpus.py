"""Real telegrams with stated values: the acceptance program of the project beside this repository, run on our command."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.corpus

ROOT = Path(os.environ.get("OPENMETERING_CORPUS", Path(__file__).parents[2] / ".." / "shared"))
PROGRAM = ROOT / "acceptance" / "score_corpus.py"

#: the least share of right cases by group; raised when the decoder gets better, never lowered
FLOORS = {
    "wired": 0.89,
    "wireless": 0.72,
    "encrypted": 0.82,
    "already-plain": 0.70,
    "compact": 0.80,
    "refused": 0.95,
}
_ROW = re.compile(r"^(\S+)\s+right\s+(\d+) of\s+(\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def score() -> dict[str, tuple[int, int]]:
    """Right and all cases by group."""
    if not PROGRAM.is_file():
        pytest.skip("the corpus is absent; set OPENMETERING_CORPUS to the folder that holds corpus/ and acceptance/")
    if importlib.util.find_spec("typer") is None:
        pytest.skip("the command line needs the extra cli")
    command = f"{sys.executable} -c 'from openmetering.interfaces.cli.main import main; main()'"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--oms", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (int(right), int(all_of)) for name, right, all_of in _ROW.findall(done.stdout)}


@pytest.mark.parametrize("group", FLOORS)
def test_enough_telegrams_are_right(score: dict[str, tuple[int, int]], group: str) -> None:
    right, all_of = score[group]
    assert all_of >= 18
    assert right / all_of >= FLOORS[group], f"{right} of {all_of}"


def test_all_groups_are_there(score: dict[str, tuple[int, int]]) -> None:
    assert set(score) == {*FLOORS, "maker"}
