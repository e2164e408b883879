"""The pages of the use cases: what they print on the command line is true, and their runs are the same every time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering.interfaces.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "usecases").glob("*.md"))
NUMBERS = ("00", "01", "03", "04", "05", "06", "07", "08", "12", "14", "20")
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands() -> Iterator[tuple[str, str, str]]:
    """Page, command and the output below it."""
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for call in re.split(r"^\$ oms ", block, flags=re.MULTILINE)[1:]:
                command, _, output = call.partition("\n")
                yield page.name, command, output.rstrip("\n")


CALLS = list(commands())


def test_every_use_case_has_a_page_with_its_run() -> None:
    assert [page.stem for page in PAGES] == ["index", *(f"uc-{number}" for number in NUMBERS)]
    for page in PAGES[1:]:
        text = page.read_text(encoding="utf-8")
        assert f"_usecase-{page.stem[3:]}.md" in text
        assert "## From Python" in text
        assert "## From the command line" in text


@pytest.mark.parametrize(("page", "command", "output"), CALLS, ids=[f"{page}: {command[:40]}" for page, command, _ in CALLS])
def test_the_command_line_prints_what_the_page_says(
    page: str, command: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    program = next(value for value in vars(main).values() if isinstance(value, typer.Typer))
    result = CliRunner().invoke(program, command.split(), prog_name="oms")
    assert result.output.rstrip("\n") == output
    assert (result.exit_code == 0) == ("refuses" not in output or "passed" in output)


@pytest.mark.usefixtures("extension")
def test_every_use_case_has_scenes() -> None:
    from scenes import SCENES

    assert tuple(SCENES) == NUMBERS


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_is_the_same_every_time(number: str) -> None:
    import scenes

    import usecases

    first, second = ([scene() for scene in scenes.SCENES[number]] for _ in range(2))
    assert first == second
    lines = usecases.part(number, first)
    assert lines == usecases.part(number, second)
    for story in first:
        assert story.messages
        assert all(message.sender in story.participants and message.receiver in story.participants for message in story.messages)
        assert any(story.title in line for line in lines)
        for message in story.messages:
            assert any(message.octets.hex(" ").upper() in line for line in lines)


@pytest.mark.usefixtures("extension")
def test_a_lost_answer_ends_with_both_sides_at_one() -> None:
    """What the drawing of UC-08 claims: the gateway goes on under version 1, and the device is asked, not commanded."""
    import scenes

    story = scenes.keys_lost()
    lost = [message for message in story.messages if message.lost]
    assert {message.name for message in lost} == {"RSP-UD"}
    assert story.results[-1].words == "key 00h: version 1 in place of version 0"
    after = story.messages[story.messages.index(lost[-1]) + 1 :]
    assert after[0].words.startswith("link key version 1")
    assert "list of active keys" in after[-2].words


@pytest.mark.usefixtures("extension")
def test_repetitions_are_folded_but_not_across_a_result() -> None:
    import scenes

    import usecases

    (update, _) = (scene() for scene in scenes.SCENES["05"])
    rows = usecases.folded(update.messages, frozenset())
    assert len(rows) < len(update.messages)
    assert sum(row.times > 1 for _, row in rows) > 1
    assert any(row.pairs > 1 for _, row in rows)
    everywhere = frozenset(range(len(update.messages)))
    assert [row.message for _, row in usecases.folded(update.messages, everywhere)] == list(update.messages)
