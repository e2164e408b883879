"""The key vault: wrapped at rest, fingerprints outside, uses counted, a master key that can be changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from openmetering.errors import InputError, KeyNotFound
from openmetering.security import Key
from openmetering.services.headend import vault as vault_module
from openmetering.services.headend.masterkey import read_master_key
from openmetering.services.headend.vault import TRANSITIONS, Vault
from openmetering.storage import tables
from openmetering.storage.database import Database
from tests.fleet import KEY, address
from tests.services.headend.desk import MASTER, Desk, address_of

OTHER = bytes(range(16, 32))
HOOK = "whsec_c2VjcmV0IG9mIGEgd2ViaG9vaw=="
OCTETS = address().link_octets()


def test_the_database_never_holds_a_key_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "head.db"
    with Database.open(str(path)) as database:
        desk = Desk(database)
        made = desk.vault.add(address_of(), KEY, 0, label="from the box")
        desk.vault.generate(address_of(), 0x20, 1)
        assert desk.vault.octets_of(made.id) == KEY
        desk.head_end.webhooks.add("https://example.org/", ("alarm",), HOOK)
        desk.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (KEY, MASTER, HOOK.encode()):
        assert secret not in stored
        assert secret.hex().encode() not in stored.lower()


def test_secrets_of_webhooks_are_sealed_and_sealed_again_with_a_new_master_key(desk: Desk) -> None:
    made = desk.head_end.webhooks.add("https://example.org/", ("alarm",), HOOK)
    assert HOOK not in made.secret
    assert desk.vault.unseal(made.secret) == HOOK
    desk.vault.rotate(OTHER)
    again = desk.head_end.webhooks.find(made.id)
    assert again is not None
    assert again.secret != made.secret
    assert desk.vault.unseal(again.secret) == HOOK
    for damaged in (made.secret, again.secret[:-8] + "AAAAAAA=", "secret", ""):
        with pytest.raises(InputError) as caught:
            desk.vault.unseal(damaged)
        assert caught.value.code == "vault.damaged"


def test_what_is_shown_is_a_fingerprint(desk: Desk) -> None:
    made = desk.vault.add(address_of(), KEY.hex(), 0x20, 3, label="valve", created_by=desk.root.id)
    assert made.fingerprint == Key(KEY).fingerprint
    assert (made.key_id, made.version, made.state, made.uses, made.created_by) == (0x20, 3, "active", 0, desk.root.id)
    shown = f"{made!r}{desk.vault!r}{desk.vault.keys()!r}{desk.vault.live_ring()!r}".lower()
    assert KEY.hex() not in shown
    assert MASTER.hex() not in shown


@pytest.mark.parametrize(
    ("pattern", "key", "code"),
    [
        ("nonsense nonsense", KEY.hex(), "address.invalid"),
        (address_of(), "12", "key.invalid"),
        (address_of(), "x" * 32, "key.invalid"),
    ],
)
def test_what_cannot_be_used_is_refused(desk: Desk, pattern: str, key: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        desk.vault.add(pattern, key)
    assert caught.value.code == code
    assert key not in caught.value.message


def test_the_same_key_again_is_the_same_row(desk: Desk) -> None:
    first = desk.vault.add(address_of(), KEY)
    assert desk.vault.add(address_of().lower(), KEY).id == first.id
    assert len(desk.vault.keys().items) == 1


def test_a_place_holds_one_active_key(desk: Desk) -> None:
    first = desk.vault.add(address_of(), KEY)
    with pytest.raises(InputError) as caught:
        desk.vault.add(address_of(), OTHER)
    assert caught.value.code == "access.conflict"
    desk.vault.retire(first.id)
    assert desk.vault.add(address_of(), OTHER).state == "active"
    desk.vault.add(address_of(), KEY, 0x20)  # another KeyID is another place
    desk.vault.add(address_of(), KEY, 0, 7)  # and so is another version


def test_tenants_do_not_see_the_conflict_with_others(desk: Desk) -> None:
    one, two = desk.tenant("one"), desk.tenant("two")
    desk.vault.add("*", KEY, tenant_id=one)
    assert desk.vault.add("*", OTHER, tenant_id=two).state == "active"
    assert [info.tenant_id for info in desk.vault.keys(tenant_id=two).items] == [two]


@pytest.mark.parametrize(
    ("state", "step"), [(state, step) for state in ("waiting", "active", "retired") for step in ("activate", "retire")]
)
def test_every_step_of_the_life(desk: Desk, state: str, step: str) -> None:
    made = desk.vault.add(address_of(), KEY, 0, 1, state="waiting" if state == "waiting" else "active")
    if state == "retired":
        desk.vault.retire(made.id)
    wanted = TRANSITIONS.get((state, step))
    if wanted is None:
        with pytest.raises(InputError) as caught:
            getattr(desk.vault, step)(made.id)
        assert caught.value.code == "access.conflict"
    else:
        assert getattr(desk.vault, step)(made.id).state == wanted


def test_steps_of_what_is_not_there(desk: Desk) -> None:
    for step in (desk.vault.activate, desk.vault.retire, desk.vault.octets_of):
        with pytest.raises(InputError) as caught:
            step(99)
        assert caught.value.code == "access.unknown"
    assert desk.vault.find(99) is None


def test_a_new_key_waits_and_takes_the_place_of_the_old_one(desk: Desk) -> None:
    old = desk.vault.add(address_of(), KEY, 0)
    fresh = desk.vault.generate(address_of(), 0)
    assert fresh.state == "waiting"
    assert len(desk.vault.octets_of(fresh.id)) == 16
    found = desk.vault.live_ring().find(OCTETS)
    assert [key.octets == KEY for key in found] == [True, False]  # what is active is tried first
    assert desk.vault.activate(fresh.id).state == "active"
    assert desk.vault.find(old.id).state == "retired"  # type: ignore[union-attr]
    assert [key.octets == KEY for key in desk.vault.live_ring().find(OCTETS)] == [False]
    assert [key.octets == KEY for key in desk.vault.whole_ring().find(OCTETS)] == [False, True]


def test_two_generated_keys_differ(desk: Desk) -> None:
    made = [desk.vault.generate(address_of(), 0x20, version) for version in (1, 2)]
    assert len({info.fingerprint for info in made}) == 2


def test_the_ring_is_kept_until_keys_change(desk: Desk) -> None:
    ring = desk.vault.live_ring()
    assert desk.vault.live_ring() is ring
    desk.vault.add(address_of(), KEY)
    assert desk.vault.live_ring() is not ring
    again = desk.vault.live_ring()
    desk.vault.refresh()
    assert desk.vault.live_ring() is not again


def test_uses_are_counted_when_a_key_leaves(desk: Desk) -> None:
    made = desk.vault.add(address_of(), KEY, 0x20, 1)
    assert desk.vault.key_for(OCTETS, 0x20).octets == KEY
    desk.vault.octets_of(made.id)
    desk.vault.count([made.id] * 5)
    found = desk.vault.find(made.id)
    assert found is not None
    assert (found.uses, found.last_used) == (7, desk.clock.now)
    with pytest.raises(KeyNotFound):
        desk.vault.key_for(OCTETS, 0x21)


def test_counts_survive_a_database_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.vault.add(address_of(), KEY)
    desk.vault.count([made.id])
    with monkeypatch.context() as patch:
        patch.setattr(vault_module.vault_rows, "count_uses", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.vault.flush()
    assert desk.vault.find(made.id).uses == 1  # type: ignore[union-attr]


def test_a_pattern_that_is_more_exact_is_counted(desk: Desk) -> None:
    wide = desk.vault.add("*", KEY)
    exact = desk.vault.add(address_of(), KEY)
    key = desk.vault.live_ring().require(OCTETS)[0]
    assert desk.vault.number_of(key, OCTETS) == exact.id
    assert desk.vault.number_of(key, address(99).link_octets()) == wide.id
    assert desk.vault.number_of(Key(OTHER), OCTETS) is None


# -- files ----------------------------------------------------------------------------------------


FILE = f"""address,key,key_id,label
{address_of(1)},{KEY.hex()},0,one
{address_of(2)},{KEY.hex()},0x20,two
{address_of(2)},{OTHER.hex()},0x20,again
{address_of(3)},{OTHER.hex()},,three
""".encode()


def test_a_file_is_shown_before_it_is_taken(desk: Desk) -> None:
    tenant = desk.tenant()
    desk.vault.add(address_of(3), OTHER, tenant_id=tenant)
    desk.vault.add(address_of(1), OTHER, tenant_id=tenant)
    plan = desk.vault.preview(FILE, tenant)
    assert [(line.address_pattern, line.label) for line in plan.added] == [(address_of(2), "two")]
    assert [(line.address_pattern, line.label) for line in plan.conflicts] == [(address_of(1), "one"), (address_of(2), "again")]
    assert plan.known == 1
    assert plan.words() == "1 new, 1 known, 2 in conflict"
    assert KEY.hex() not in repr(plan).lower()
    assert len(desk.vault.keys().items) == 2
    assert desk.vault.import_file(FILE, tenant, created_by=desk.root.id) == plan
    assert len(desk.vault.keys().items) == 3


def test_a_file_may_replace(desk: Desk) -> None:
    tenant = desk.tenant()
    old = desk.vault.add(address_of(1), OTHER, tenant_id=tenant)
    desk.vault.import_file(FILE, tenant, replace=True)
    assert desk.vault.find(old.id).state == "retired"  # type: ignore[union-attr]
    assert desk.vault.key_for(address(1).link_octets(), 0).octets == KEY
    # of two lines for the same place the later one counts
    assert desk.vault.key_for(address(2).link_octets(), 0x20).octets == OTHER


def test_the_same_line_twice_is_known(desk: Desk) -> None:
    data = f"address,key\n{address_of()},{KEY.hex()}\n{address_of()},{KEY.hex()}\n".encode()
    assert desk.vault.preview(data, None).words() == "1 new, 1 known, 0 in conflict"


def test_a_file_that_is_none(desk: Desk) -> None:
    with pytest.raises(InputError) as caught:
        desk.vault.preview(b"\x00\x01", None)
    assert caught.value.code.startswith("keyfile.")


# -- tampering and the master key -------------------------------------------------------------------


def test_a_wrapped_key_does_not_open_in_another_row(desk: Desk) -> None:
    first = desk.vault.add(address_of(1), KEY)
    second = desk.vault.add(address_of(2), OTHER)
    with desk.database.transaction() as connection:
        table = tables.vault_keys
        wrapped = connection.execute(select(table.c.wrapped).where(table.c.id == first.id)).scalar_one()
        connection.execute(update(table).where(table.c.id == second.id).values(wrapped=wrapped))
    with pytest.raises(InputError) as caught:
        desk.vault.octets_of(second.id)
    assert caught.value.code == "vault.damaged"
    desk.vault.refresh()
    with pytest.raises(InputError) as caught:
        desk.vault.live_ring()
    assert caught.value.code == "vault.damaged"


def test_octets_that_were_changed_do_not_open(desk: Desk) -> None:
    made = desk.vault.add(address_of(1), KEY)
    with desk.database.transaction() as connection:
        connection.execute(update(tables.vault_keys).values(wrapped=bytes(32)))
    with pytest.raises(InputError) as caught:
        desk.vault.octets_of(made.id)
    assert caught.value.code == "vault.damaged"


def test_another_master_key_is_refused(desk: Desk) -> None:
    with pytest.raises(InputError) as caught:
        Vault(desk.database, OTHER, desk.clock)
    assert caught.value.code == "vault.master"
    with pytest.raises(InputError) as caught:
        Vault(desk.database, b"short", desk.clock)
    assert caught.value.code == "vault.master"
    assert Vault(desk.database, MASTER, desk.clock).live_ring() is not None


def test_rotation_wraps_everything_again(desk: Desk) -> None:
    keys = [desk.vault.add(address_of(number), bytes([number] * 16)) for number in (1, 2, 3)]
    desk.vault.retire(keys[2].id)
    report = desk.vault.rotate(OTHER)
    assert report.keys == 3
    assert report.old != report.new
    assert [desk.vault.octets_of(info.id)[0] for info in keys] == [1, 2, 3]
    again = Vault(desk.database, OTHER, desk.clock)
    assert again.octets_of(keys[0].id) == bytes([1] * 16)
    with pytest.raises(InputError):
        Vault(desk.database, MASTER, desk.clock)
    for used in (OTHER, MASTER):
        with pytest.raises(InputError) as caught:
            again.rotate(used)
        assert caught.value.code == "vault.master"


def test_a_rotation_that_fails_changes_nothing(desk: Desk) -> None:
    made = desk.vault.add(address_of(), KEY)

    def fails(_: object) -> None:
        raise InputError("no", code="access.invalid")

    with pytest.raises(InputError):
        desk.vault.rotate(OTHER, note=fails)
    assert desk.vault.octets_of(made.id) == KEY
    assert Vault(desk.database, MASTER, desk.clock).octets_of(made.id) == KEY


def test_a_key_under_a_lost_master_key_is_told(desk: Desk) -> None:
    desk.vault.add(address_of(), KEY)
    with desk.database.transaction() as connection:
        connection.execute(text("UPDATE vault_keys SET master_id = NULL"))
    desk.vault.refresh()
    with pytest.raises(InputError) as caught:
        desk.vault.live_ring()
    assert caught.value.code == "vault.master"


# -- rotation with a file ----------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "master.key"


def test_rotation_puts_the_new_key_into_the_file(desk: Desk, key_file: Path) -> None:
    with Database.open(":memory:") as database:
        vault = Vault(database, read_master_key(f"file:{key_file}", create=True), desk.clock)
        made = vault.add(address_of(), KEY)
        before = key_file.read_text()
        vault.rotate()
        assert key_file.read_text() != before
        assert not key_file.with_name("master.key.new").exists()
        assert Vault(database, read_master_key(f"file:{key_file}"), desk.clock).octets_of(made.id) == KEY


def test_a_power_cut_at_any_step_of_a_rotation(desk: Desk, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database.open(":memory:") as database:
        source = read_master_key(f"file:{key_file}", create=True)
        vault = Vault(database, source, desk.clock)
        made = vault.add(address_of(), KEY)
        with pytest.raises(ZeroDivisionError):
            vault.rotate(note=lambda _: 1 / 0)  # before the database has it
        assert key_file.with_name("master.key.new").exists()
        assert Vault(database, read_master_key(f"file:{key_file}"), desk.clock).octets_of(made.id) == KEY
        with monkeypatch.context() as patch:
            patch.setattr(type(source), "commit", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                vault.rotate()  # the database has it, the file not yet
        after = Vault(database, read_master_key(f"file:{key_file}"), desk.clock)
        assert after.octets_of(made.id) == KEY
        assert not key_file.with_name("master.key.new").exists()
        assert Vault(database, read_master_key(f"file:{key_file}"), desk.clock).octets_of(made.id) == KEY
