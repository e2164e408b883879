"""Rules as data, and each check on the smallest evidence that makes it speak; the whole is tested with a property of faults."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.errors import InputError
from openmetering.mdm.evidence import Balance, Evidence, Heard, Stay, Stored
from openmetering.mdm.findings import Finding
from openmetering.mdm.series import Register, Sample, Series
from openmetering.mdm.validation import RULE_IDS, load_rules, validate, validate_balance

RULES = load_rules()
DAY, QUARTER_DAY = 86_400.0, 21_600.0
HEAD = "id,medium,size,severity,parameters,says,source,confidence\n"


def register(device: str = "A", medium: str = "cold water") -> Register:
    return Register(device, "VM1!", medium, "volume", "m3", None, 8)


def series(mantissas: list[int], device: str = "A") -> Series:
    return Series(register(device), -3, tuple(Sample(QUARTER_DAY * place, one) for place, one in enumerate(mantissas)))


def evidence(mantissas: list[int], **more: object) -> Evidence:
    heard = tuple(Heard(QUARTER_DAY * place, "A", "east", place % 256, status=0) for place in range(len(mantissas)))
    known = Evidence(
        "1", 0.0, QUARTER_DAY * len(mantissas), (series(mantissas),), (Stay("A", -DAY),), heard, medium="cold water", unit="m3",
        maximum=Decimal("3.125"),
    )  # fmt: skip
    return msgspec.structs.replace(known, **more)


def rules_of(found: tuple[Finding, ...]) -> list[str]:
    return [one.rule for one in found]


#: a household: nothing at night, something by day
USUAL = [place // 4 * 150 + (0, 0, 60, 120)[place % 4] for place in range(200)]


TENFOLD = [one + 5000 if not 40 < place < 60 else (one + 5000) * 10 for place, one in enumerate(USUAL)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=40, max_size=160), st.integers(0, 99_999_999))
def test_any_household_is_faultless(days: list[int], first: int) -> None:
    """Also one that rolls over, but for the rule that says so."""
    total, values = first, []
    for one in days:
        for share in (0, 0, one // 2, one):
            values.append((total + share) % 10**8)
        total += one
    assert set(rules_of(validate(evidence(values), RULES))) <= {"roll-over"}


@pytest.mark.parametrize(
    ("rule", "made"),
    [
        ("medium", evidence(USUAL, medium="heat")),
        ("unit", evidence(TENFOLD, maximum=None)),
        ("rate", evidence([one + 5_000_000 * (40 < place < 60) for place, one in enumerate(USUAL)])),
        ("backward", evidence([one - 60 * (place > 100) for place, one in enumerate([9000 + one for one in USUAL])])),
        ("exchange", evidence(USUAL, stays=(Stay("Z", -DAY, 0.0), Stay("A", 0.0)))),
        ("leak", evidence([place * 90 for place in range(60)])),
        ("due-date", evidence(USUAL, stored=(Stored("due", "A", 10 * DAY, 9000, -3, 12 * DAY),))),
        ("months", evidence(USUAL, stored=(Stored("month", "A", 10 * DAY, 9000, -3, 12 * DAY),))),
        ("months", evidence(USUAL, stored=tuple(Stored("month", "A", -DAY * n, 50 * n, -3, DAY) for n in (40, 10)))),
    ],
)  # fmt: skip
def test_values_that_are_wrong(rule: str, made: Evidence) -> None:
    assert rules_of(validate(made, RULES)) == [rule]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("key", lambda place, one: msgspec.structs.replace(one, opened=place != 50)),
        ("status", lambda place, one: msgspec.structs.replace(one, status=8 * (50 <= place < 54))),
        ("flags", lambda place, one: msgspec.structs.replace(one, flags=("water leakage",) * (place == 50))),
        ("clock", lambda place, one: msgspec.structs.replace(one, meter_time=one.at + 3600.0 + 300.0 * (50 <= place < 54))),
        ("hops", lambda place, one: msgspec.structs.replace(one, repeats=2 * (50 <= place < 54))),
    ],
)
def test_telegrams_that_say_so(rule: str, change: object) -> None:
    made = evidence(USUAL)
    heard = tuple(change(place, one) for place, one in enumerate(made.heard))  # type: ignore[operator]
    assert rules_of(validate(msgspec.structs.replace(made, heard=heard), RULES)) == [rule]


def test_gaps_and_lost_telegrams() -> None:
    made = evidence(USUAL)
    kept = [place for place in range(200) if not 60 <= place < 80]
    samples = tuple(made.registers[0].samples[place] for place in kept)
    gap = msgspec.structs.replace(
        made, registers=(Series(register(), -3, samples),), heard=tuple(made.heard[place] for place in kept)
    )
    assert rules_of(validate(gap, RULES)) == ["gap"]
    some = [place for place in range(200) if place % 5 not in (1, 3)]
    lost = msgspec.structs.replace(made, heard=tuple(made.heard[place] for place in some))
    assert rules_of(validate(lost, RULES)) == ["lost"]


def test_standstill_is_one_only_while_others_go_on() -> None:
    still = [min(place, 20) * 40 for place in range(400)]
    peers = tuple(series([place * 40 for place in range(400)], f"P{number}") for number in range(4))
    summer = tuple(series([min(place, 20) * 40 for place in range(400)], f"P{number}") for number in range(4))
    assert "frozen" in rules_of(validate(evidence(still, peers=peers), RULES))
    assert "frozen" not in rules_of(validate(evidence(still, peers=summer), RULES))
    assert "frozen" not in rules_of(validate(evidence(still, peers=peers[:2]), RULES))


def test_a_replay_and_copies_count_once() -> None:
    made = evidence(USUAL)
    again = [*made.registers[0].samples]
    heard = [*made.heard]
    for place in (60, 61):
        at = QUARTER_DAY * 150 + 700.0 + place
        again.append(Sample(at, USUAL[place]))
        heard.append(Heard(at, "A", "east", place, status=0))
    again.sort(key=lambda one: one.at)
    replay = msgspec.structs.replace(made, registers=(Series(register(), -3, tuple(again)),), heard=tuple(heard))
    (found,) = validate(replay, RULES)
    assert (found.rule, len(found.samples)) == ("replay", 2)
    copies = tuple(msgspec.structs.replace(one, at=one.at + 40.0, gateway="north") for one in made.heard)
    assert rules_of(validate(msgspec.structs.replace(made, heard=made.heard + copies), RULES)) == ["duplicates"]
    near = tuple(msgspec.structs.replace(one, at=one.at + 0.3, gateway="west") for one in made.heard)
    assert rules_of(validate(msgspec.structs.replace(made, heard=made.heard + near), RULES)) == []


def test_an_old_message_counter_is_a_replay() -> None:
    made = evidence(USUAL)
    at = QUARTER_DAY * 150 + 760.0
    refused = (Heard(at, "A", "east", 60, True), Heard(at, "A", "west", 60, True), Heard(at + 60.0, "A", "east", 61, True))
    (found,) = validate(
        msgspec.structs.replace(made, heard=tuple(sorted((*made.heard, *refused), key=lambda one: one.at))), RULES
    )
    assert (found.rule, found.samples) == ("replay", (at, at + 60.0))
    assert "2 telegrams whose message counter did not advance" in found.reason


def test_a_main_meter_against_its_parts() -> None:
    parts = tuple((series([place * rate for place in range(40)], f"P{rate}"),) for rate in (100, 200, 300))
    end = 39 * QUARTER_DAY

    def main(rate: int) -> Balance:
        return Balance("9", 0.0, end, (series([place * rate for place in range(40)], "M"),), parts)

    assert validate_balance(main(640), RULES, "cold water") == ()
    assert rules_of(validate_balance(main(760), RULES, "cold water")) == ["balance"]
    assert rules_of(validate_balance(main(500), RULES, "cold water")) == ["balance"]
    assert validate_balance(Balance("9", 0.0, end, (), parts), RULES) == ()


# -- rules as data ---------------------------------------------------------------------------------------


def test_rows_of_users_stand_behind_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(HEAD + "leak,cold water,Q3 4,off,,no,ours,K\ngap,*,*,fail,days=1 intervals=2,soon,ours,K\n")
    rules = load_rules(path)
    assert "leak" in rules.of("cold water", "Q3 2.5")
    assert "leak" not in rules.of("cold water", "Q3 4")
    assert (rules.of("gas")["gap"].severity, rules.of("gas")["gap"]["days"]) == ("fail", 1.0)
    assert RULES.of("heat, volume at return")["frozen"]["days"] == 30
    assert RULES.of("electricity")["backward"]["tolerance"] == 0
    assert "leak" not in RULES.of("cold water", "main")
    assert len(RULE_IDS) == len(set(RULE_IDS)) >= 20


@pytest.mark.parametrize(
    "text",
    ["a,b\n", HEAD + "gap,*,*,loud,,x,x,K\n", HEAD + "gap,*,*,warn,days=many,x,x,K\n"],
)
def test_a_bad_table_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="line"):
        load_rules(path)
    with pytest.raises(InputError):
        load_rules(tmp_path / "nothing.csv")


def test_a_row_without_its_parameter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text(HEAD + "gap,*,*,warn,days=1,x,x,K\n")
    with pytest.raises(InputError, match="intervals"):
        validate(evidence(USUAL), load_rules(path))


def test_the_page_of_rules_has_the_rules_of_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "rules.md").read_text("utf-8")
    for rule in RULE_IDS:
        assert f"\n### {rule}\n" in page
    assert page.count("\n### ") == len(RULE_IDS)
