"""The rows of the account."""

from __future__ import annotations

from openmetering.simulation.account import CAUSES, FATES, RECEIVED, Account, Line


def test_causes_are_all_fates_but_one() -> None:
    assert FATES[RECEIVED] == "received"
    assert FATES[1:] == CAUSES
    assert len(set(FATES)) == 10


def test_rows_are_counted_up_in_place() -> None:
    account = Account()
    row = account.row("gateway", "gas")
    row[RECEIVED] += 3
    assert account.row("gateway", "gas") is row
    assert next(account.lines()) == Line("gateway", "gas", (3, 0, 0, 0, 0, 0, 0, 0, 0, 0))


def test_totals_by_receiver_and_medium() -> None:
    account = Account()
    for receiver, medium, fate in (("a", "gas", 0), ("a", "heat", 2), ("b", "gas", 3)):
        account.row(receiver, medium)[fate] += 1
    assert account.total().total == 3
    assert account.total("a").received == 1
    assert account.total("a").lost("noise") == 1
    assert account.total(medium="gas").lost("collision") == 1
    assert account.total("b", "heat").total == 0


def test_the_balance_is_an_independent_count() -> None:
    account = Account()
    assert account.balanced
    account.expected += 1
    assert not account.balanced
    account.row("a", "gas")[5] += 1
    assert account.balanced
