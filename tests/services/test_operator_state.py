"""The state file of an operator: whole or not at all, private, without keys, for one program at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.gateway.access import AccessMemory
from openmetering.protocol.gateway.events import DeviceLink, GatewayMemory, OpenOrder
from openmetering.protocol.gateway.partner_security import Partner, SecurityMemory, StoredKey
from openmetering.protocol.gateway.wired_gateway import WiredMemory
from openmetering.protocol.operator.journal import ImageEntry, Journal, OpenCommand, RenewalEntry
from openmetering.security import CounterLedger
from openmetering.services.operator_state import OperatorState

METER = Address.parse("ELS-12345678-33-07")
OTHER = Address.parse("ELS-87654321-33-07")
KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")


def journal() -> Journal:
    made = Journal(METER).with_version(0x20, 1).with_counter(0x20, 1, 17)
    made = made.with_command(OpenCommand(0x20, 1, 17, b"\x01" * 16, "disconnector: disconnected"))
    made = made.with_renewal(RenewalEntry(0x10, 0, 1, "transferred"))
    return Journal(METER, made.active, made.counters, made.commands, made.renewals, ImageEntry(b"V1", b"\x02" * 16, 190))


def memory(counter: int = 100) -> GatewayMemory:
    ledger = CounterLedger("gateway")
    for _ in range(counter):
        ledger.reserve(METER.link_octets())
    octets = METER.link_octets()
    security = SecurityMemory(ledger.snapshot(), (Partner(octets, "B", waiting=(1,)),), (StoredKey(octets, 0, 1, KEY),))
    access = (AccessMemory(octets, 16, ((1, 1_700_000_000.5),)),)
    return GatewayMemory(security, (DeviceLink(METER, "B"),), access, (OpenOrder(5, True),), (METER,))


def test_everything_but_keys_and_orders_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with OperatorState.open(path) as state:
        state.keep_journal(journal())
        state.keep_memory(memory())
    with OperatorState.open(path) as state:
        assert state.journals == (journal(),)
        radio = state.radio_memory()
        assert radio.security.counters == memory().security.counters
        assert radio.security.partners == memory().security.partners
        assert radio.access == memory().access
        assert radio.without_snd_ud2 == (METER,)
        assert radio.links == ()
        assert radio.orders == ()
        assert state.wired_memory().security == radio.security


def test_no_key_stands_in_it_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = OperatorState(path)
    state.keep_memory(memory())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert KEY.hex().upper() not in text.upper()
    import base64

    assert base64.b64encode(KEY).decode() not in text
    assert state.radio_memory().security.keys == ()


def test_wired_and_radio_share_counters(tmp_path: Path) -> None:
    state = OperatorState(tmp_path / "state.json")
    state.keep_memory(memory(10))
    wired = state.wired_memory()
    state.keep_memory(WiredMemory(memory(20).security, (), wired.access, ()))
    assert state.radio_memory().security.counters.entries[0].own == 20
    assert state.radio_memory().without_snd_ud2 == (METER,)  # a wired gateway knows nothing of that


def test_what_a_gateway_learned_about_snd_ud2_is_kept_per_device() -> None:
    state = OperatorState()
    state.keep_memory(memory())
    state.keep_memory(GatewayMemory(links=(DeviceLink(OTHER),), without_snd_ud2=(OTHER,)))
    assert set(state.radio_memory().without_snd_ud2) == {METER, OTHER}
    state.keep_memory(GatewayMemory(links=(DeviceLink(METER),)))
    assert state.radio_memory().without_snd_ud2 == (OTHER,)


def test_an_empty_journal_is_dropped_and_a_new_one_replaces_the_old() -> None:
    state = OperatorState()
    state.keep_journal(journal())
    state.keep_journal(Journal(OTHER).with_version(0, 3))
    state.keep_journal(Journal(METER).with_version(0, 2))
    assert {entry.address: entry.version(0) for entry in state.journals} == {METER: 2, OTHER: 3}
    state.keep_journal(Journal(METER))
    assert [entry.address for entry in state.journals] == [OTHER]


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with OperatorState.open(None) as state:
        state.keep_journal(journal())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no state file"),
        ('{"format": 1, "surprise": 2}', "no state file"),
        ('{"format": 2}', "has format 2"),
        ('{"journals": 5}', "no state file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as info:
        OperatorState(path)
    assert info.value.code == "state.unreadable"
    assert path.read_text() == content


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as info:
        OperatorState(tmp_path)
    assert info.value.code == "state.unreadable"


def test_what_cannot_be_written_is_not_remembered(tmp_path: Path) -> None:
    state = OperatorState(tmp_path / "no" / "folder.json")
    with pytest.raises(InputError) as info:
        state.keep_journal(journal())
    assert info.value.code == "state.unwritable"
    assert state.journals == ()
    with pytest.raises(InputError) as info, OperatorState.open(tmp_path / "no" / "folder.json"):
        pass
    assert info.value.code == "state.unwritable"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    state = OperatorState(path)
    state.keep_journal(journal())
    before = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="No space left"):
        state.keep_journal(Journal(OTHER).with_version(0, 1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert state.journals == (journal(),)


def test_one_program_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "state.json"
    with OperatorState.open(path):
        with pytest.raises(InputError, match="in use") as info, OperatorState.open(path):
            pass
        assert info.value.code == "state.locked"
    with OperatorState.open(path) as state:
        state.keep_journal(journal())
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
