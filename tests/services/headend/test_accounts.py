"""Accounts: passwords, locks, sessions, tokens, one-time logins."""

from __future__ import annotations

from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from openmetering.errors import InputError
from openmetering.services.headend.accounts import AccountRules, Accounts
from openmetering.services.headend.model import User
from openmetering.storage import tables
from tests.services.headend.desk import PASSWORD, QUICK, Desk


def refused(code: str) -> pytest.RaisesExc[InputError]:
    """An InputError with this code."""
    return pytest.RaisesExc(InputError, check=lambda error: error.code == code)


@pytest.fixture
def accounts(desk: Desk) -> Accounts:
    return desk.head_end.accounts


@pytest.fixture
def anna(desk: Desk) -> User:
    return desk.user("mso", desk.tenant(), "Anna")


def test_passwords_are_hashed_with_argon2id(desk: Desk, anna: User) -> None:
    slow = Accounts(desk.database, desk.clock)
    made = slow.add("Bert", PASSWORD, "auditor")
    assert made.password_hash.startswith("$argon2id$v=19$")
    assert PASSWORD not in made.password_hash
    assert made.password_hash != slow.add("Cora", PASSWORD, "auditor").password_hash
    for user in (anna, made):
        assert "$argon2" not in repr(user)


def test_who_knows_the_password_is_the_user(accounts: Accounts, anna: User) -> None:
    assert accounts.login("Anna", PASSWORD).id == anna.id
    assert accounts.login(" Anna ", PASSWORD).id == anna.id
    for name, password in (
        ("Anna", PASSWORD + "x"),
        ("Anna", ""),
        ("anna", PASSWORD),
        ("nobody", PASSWORD),
        ("Anna", "x" * 9999),
    ):
        with refused("login.failed"):
            accounts.login(name, password)


def test_wrong_passwords_lock_longer_and_longer(desk: Desk, accounts: Accounts, anna: User) -> None:
    def wrong() -> str:
        with pytest.raises(InputError) as caught:
            accounts.login("Anna", "something else")
        return caught.value.code

    assert [wrong() for _ in range(6)] == ["login.failed"] * 5 + ["login.locked"]
    with refused("login.locked"):
        accounts.login("Anna", PASSWORD)  # the right one does not help either
    desk.clock.forward(seconds=61)
    assert wrong() == "login.failed"
    desk.clock.forward(seconds=61)
    assert wrong() == "login.locked"  # two minutes now
    desk.clock.forward(seconds=60)
    assert accounts.login("Anna", PASSWORD).id == anna.id
    assert wrong() == "login.failed"  # counted from zero again
    assert accounts.login("Anna", PASSWORD).id == anna.id


def test_a_lock_has_an_end(desk: Desk, accounts: Accounts, anna: User) -> None:
    for _ in range(30):
        desk.clock.forward(hours=2)
        with refused("login.failed"):
            accounts.login("Anna", "something else")
    desk.clock.forward(seconds=accounts.rules.longest_lock + 1)
    assert accounts.login("Anna", PASSWORD).id == anna.id


def test_names_do_not_lock_each_other(accounts: Accounts, anna: User) -> None:
    for _ in range(8):
        with refused("login.failed"):
            accounts.login("nobody", PASSWORD)
    assert accounts.login("Anna", PASSWORD).id == anna.id


def test_a_hash_of_older_parameters_is_made_anew(desk: Desk, anna: User) -> None:
    stronger = Accounts(desk.database, desk.clock, hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    stronger.login("Anna", PASSWORD)
    found = stronger.named("Anna")
    assert found is not None
    assert "m=16,t=2,p=1" in found.password_hash
    assert stronger.login("Anna", PASSWORD).id == anna.id


@pytest.mark.parametrize("password", ["short", "x" * 300, "aaaaaaaaaaaa", "Dora Dora Dora".lower()])
def test_passwords_that_are_too_easy(accounts: Accounts, password: str) -> None:
    with refused("access.invalid"):
        accounts.add("dora dora dora", password, "auditor")


@pytest.mark.parametrize(
    ("name", "role", "tenant", "locale"),
    [
        ("", "admin", None, "en"),
        ("a\nb", "admin", None, "en"),
        ("x" * 300, "admin", None, "en"),
        ("E", "king", None, "en"),
        ("E", "consumer", None, "en"),
        ("E", "mso", None, "en"),
        ("E", "admin", None, "tlh"),
    ],
)
def test_users_that_cannot_be(accounts: Accounts, name: str, role: str, tenant: int | None, locale: str) -> None:
    with refused("access.invalid"):
        accounts.add(name, PASSWORD, role, tenant, locale)


def test_a_name_is_taken_once(accounts: Accounts, anna: User) -> None:
    with refused("access.conflict"):
        accounts.add("Anna", PASSWORD, "auditor")


def test_users_by_number(accounts: Accounts, anna: User) -> None:
    assert [user.name for user in accounts.users().items] == ["root", "Anna"]
    page = accounts.users(limit=1)
    assert [user.name for user in accounts.users(page.after, 1).items] == ["Anna"]
    assert accounts.count() == 2
    assert accounts.find(99) is None


def test_changes(accounts: Accounts, anna: User) -> None:
    assert accounts.change(anna.id, locale="de").locale == "de"
    assert accounts.change(anna.id, role="msp").role == "msp"
    assert accounts.change(anna.id).role == "msp"
    assert accounts.find(anna.id).locale == "de"  # type: ignore[union-attr]
    with refused("access.unknown"):
        accounts.change(99, locale="de")
    with refused("access.invalid"):
        accounts.change(anna.id, role="king")


def test_the_last_administrator_stays(desk: Desk, accounts: Accounts, anna: User) -> None:
    for change in ({"disabled": True}, {"role": "auditor"}):
        with refused("access.conflict"):
            accounts.change(desk.root.id, **change)  # type: ignore[arg-type]
    second = accounts.add("second", PASSWORD, "admin")
    assert accounts.change(desk.root.id, disabled=True).disabled
    with refused("access.conflict"):
        accounts.change(second.id, disabled=True)


def test_a_disabled_user_is_out_at_once(accounts: Accounts, anna: User) -> None:
    _, secret = accounts.start_session(anna)
    _, text = accounts.add_token(anna.id, ("*",), None)
    once = accounts.offer_login(anna.id)
    accounts.change(anna.id, disabled=True)
    assert accounts.session_user(secret) is None
    assert accounts.token_user(text) is None
    with refused("login.failed"):
        accounts.take_login(once)
    with refused("login.failed"):
        accounts.login("Anna", PASSWORD)


def test_a_new_password_ends_sessions_and_locks(accounts: Accounts, anna: User) -> None:
    _, secret = accounts.start_session(anna)
    for _ in range(5):
        with refused("login.failed"):
            accounts.login("Anna", "something else")
    accounts.set_password(anna.id, "another good one")
    assert accounts.session_user(secret) is None
    assert accounts.login("Anna", "another good one").id == anna.id
    with refused("access.unknown"):
        accounts.set_password(99, PASSWORD)
    with refused("access.invalid"):
        accounts.set_password(anna.id, "short")


def test_asking_for_a_password_counts_like_a_login(accounts: Accounts, anna: User) -> None:
    assert accounts.is_password(anna.id, PASSWORD)
    assert not accounts.is_password(99, PASSWORD)
    assert [accounts.is_password(anna.id, "something else") for _ in range(5)] == [False] * 5
    with refused("login.locked"):
        accounts.is_password(anna.id, PASSWORD)


# -- sessions ---------------------------------------------------------------------------------------


def test_a_session_is_known_by_its_number(desk: Desk, accounts: Accounts, anna: User) -> None:
    session, secret = accounts.start_session(anna)
    found = accounts.session_user(secret)
    assert found is not None
    assert (found[0].id, found[1].id) == (anna.id, session.id)
    assert secret not in session.hash
    assert session.hash not in repr(session)
    assert accounts.session_user(secret + "x") is None
    with desk.database.reading() as connection:
        assert secret not in str(connection.execute(select(tables.sessions)).all())
    accounts.end_session(secret)
    accounts.end_session(secret)
    assert accounts.session_user(secret) is None


def test_a_session_ends_without_use(desk: Desk, accounts: Accounts, anna: User) -> None:
    _, secret = accounts.start_session(anna)
    for _ in range(3):
        desk.clock.forward(hours=7)
        assert accounts.session_user(secret) is not None
    desk.clock.forward(hours=8)
    assert accounts.session_user(secret) is None


def test_a_session_ends_after_a_week(desk: Desk, accounts: Accounts, anna: User) -> None:
    _, secret = accounts.start_session(anna)
    for _ in range(27):
        desk.clock.forward(hours=6)
        assert accounts.session_user(secret) is not None
    desk.clock.forward(hours=6)
    assert accounts.session_user(secret) is None
    assert accounts.purge() == 1


def test_logging_out_everywhere(accounts: Accounts, anna: User) -> None:
    secrets = [accounts.start_session(anna)[1] for _ in range(3)]
    assert accounts.end_sessions(anna.id) == 3
    assert [accounts.session_user(secret) for secret in secrets] == [None] * 3


# -- tokens -----------------------------------------------------------------------------------------


def test_a_token_is_known_by_its_text(desk: Desk, accounts: Accounts, anna: User) -> None:
    token, text = accounts.add_token(anna.id, ("read:readings", "read:readings"), None, "billing")
    assert text.startswith("oms_")
    assert token.scopes == ("read:readings",)
    found = accounts.token_user(text)
    assert found is not None
    assert (found[0].id, found[1].id) == (anna.id, token.id)
    assert accounts.find_token(token.id).last_used == desk.clock.now  # type: ignore[union-attr]
    assert accounts.token_user(text[4:]) is None
    assert accounts.token_user("oms_") is None
    with desk.database.reading() as connection:
        assert text not in str(connection.execute(select(tables.tokens)).all())
    assert [one.label for one in accounts.tokens(anna.id)] == ["billing"]
    assert accounts.revoke_token(token.id)
    assert not accounts.revoke_token(token.id)
    assert accounts.token_user(text) is None


def test_a_token_expires(desk: Desk, accounts: Accounts, anna: User) -> None:
    _, text = accounts.add_token(anna.id, ("*",), desk.clock.now + timedelta(days=1))
    assert accounts.token_user(text) is not None
    desk.clock.forward(days=1)
    assert accounts.token_user(text) is None
    assert accounts.purge() == 1


def test_tokens_that_cannot_be(desk: Desk, accounts: Accounts, anna: User) -> None:
    with refused("access.invalid"):
        accounts.add_token(anna.id, (), None)
    with refused("access.invalid"):
        accounts.add_token(anna.id, ("*",), desk.clock.now)


# -- one-time logins --------------------------------------------------------------------------------


def test_a_one_time_login_counts_once(desk: Desk, accounts: Accounts, anna: User) -> None:
    secret = accounts.offer_login(anna.id)
    assert accounts.take_login(secret).id == anna.id
    with refused("login.failed"):
        accounts.take_login(secret)
    late = accounts.offer_login(anna.id)
    desk.clock.forward(seconds=900)
    with refused("login.failed"):
        accounts.take_login(late)
    accounts.offer_login(anna.id)
    with refused("login.failed"):
        accounts.take_login("guessed")


def test_rules_may_be_others(desk: Desk) -> None:
    strict = Accounts(desk.database, desk.clock, AccountRules(attempts=1, lock=5, shortest=20), QUICK)
    with refused("access.invalid"):
        strict.add("Fritz", PASSWORD[:19], "auditor")
    strict.add("Fritz", PASSWORD + " staple", "auditor")
    with refused("login.failed"):
        strict.login("Fritz", "something else")
    with refused("login.locked"):
        strict.login("Fritz", PASSWORD + " staple")
