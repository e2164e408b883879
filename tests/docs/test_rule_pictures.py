"""Each rule of validation is drawn from a run of itself, and its picture stands on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openmetering.mdm.validation import RULE_IDS, load_rules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rules.md"


@pytest.mark.usefixtures("extension")
def test_every_rule_has_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pages
    import rules

    monkeypatch.setattr(pages, "GENERATED", tmp_path)
    rules.generate(None, None)
    made = {path.stem.removeprefix("_rule-"): path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert set(made) == set(RULE_IDS)
    severity = load_rules().of("cold water")
    for rule, text in made.items():
        assert text.count("<svg") == 1
        assert "nan" not in text
        reason = re.search(r"^\*(.+)\* \((\w+)\)$", text, re.M)
        assert reason
        assert any(sign.isdigit() for sign in reason[1]) or rule in ("medium", "exchange")
        assert reason[2] == severity[rule].severity


def test_every_picture_stands_below_its_rule() -> None:
    page = PAGE.read_text("utf-8")
    for rule in RULE_IDS:
        section = page.partition(f"\n### {rule}\n")[2].partition("\n### ")[0]
        assert f"```{{include}} generated/_rule-{rule}.md" in section
