"""``oms keys`` as a user meets it: files, options, output, exit codes, and keys that stay hidden."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli import keyfiles as files
from openmetering.interfaces.cli import keys
from openmetering.interfaces.cli.keyfiles import PASSWORD_VARIABLE, load_keyfile, load_keyring, private, save_private
from openmetering.security.aes import BlockCipher
from openmetering.tables import FAULTS

A = "0102030405060708090A0B0C0D0E0F11"
B = "000102030405060708090A0B0C0D0E0F"
C = "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF"
WRONG = "FF" * 16
PASSWORD = "12345"

# OMS Volume 2 Annex N release E 2.0.2: N.2.1 (key A), N.2.3 (key B), N.2.2 (clear)
PROFILE_A = "2E4493157856341233037A2A0020255923C95AAA26D1B2E7493B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3"
PROFILE_B = (
    "434493157856341233038C2075900F002C25B30A000021924D4F2FB66E017A75002007109058475F4BC91DF878B80A1B0F98B629024AAC727942BFC5"
    "49233C0140829B93"
)
CLEAR = "6820206808FD7278563412931533032A0000000C1427048502046D32371F1502FD1700008916"

OWN = f"address,key,key_id,version,label\n12345678,{A},0x00,,cellar\nELS-12345678-33-03,{B},0x20,0x01,\n"
METERS = f"<MetersInOrder><Meter><MeterName>MC21</MeterName><SerialNo>76348822</SerialNo><DEK>{C}</DEK></Meter></MetersInOrder>"


class Result:
    """What a command gave: exit code (2 for our InputErrors, as the main program ends), output, messages."""

    def __init__(self, *arguments: str, stdin: str | None = None) -> None:
        app = typer.Typer()
        app.callback()(lambda: None)
        keys.register(app)
        result = CliRunner().invoke(app, ["keys", *arguments], input=stdin)
        self.output, self.errors, self.code = result.stdout, result.stderr, result.exit_code
        self.fault = ""
        if isinstance(result.exception, InputError):
            self.errors += result.exception.message
            self.code, self.fault = 2, result.exception.code
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.secrets(arguments)

    def secrets(self, arguments: tuple[str, ...]) -> None:
        """No key and no password in anything printed."""
        if "--show-keys" not in arguments:
            shown = (self.output + self.errors).upper()
            assert not any(secret in shown for secret in (A, B, C, WRONG))
            assert f"PASSWORD {PASSWORD}" not in shown

    @property
    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.output.splitlines()]


@pytest.fixture(autouse=True)
def _plain(monkeypatch, tmp_path):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    Path(name).chmod(0o600)
    return name


def kem(text: str = METERS, password: str = PASSWORD) -> bytes:
    key = password.encode().ljust(16, b"\0")
    plain = text.encode()
    sealed = BlockCipher(key).cbc_encrypt(plain + bytes(-len(plain) % 16), key)
    return b"<EncryptedData><CipherData><CipherValue>" + base64.b64encode(sealed) + b"</CipherValue></CipherData></EncryptedData>"


def mode(name: str) -> int:
    return stat.S_IMODE(Path(name).stat().st_mode)


# -- import -------------------------------------------------------------------------------


def test_import_makes_a_private_file():
    write("list.txt", f"12345678;{A}\n12345679;{B} # flat 2\n")
    result = Result("import", "list.txt", "-o", "keys.csv")
    assert result.code == 0
    assert result.output == "keys.csv: 2 added, 0 already known, no conflicts (1 list file)\n"
    assert mode("keys.csv") == 0o600
    text = Path("keys.csv").read_text()
    assert text.splitlines()[1:] == ["address,key,key_id,version,label", f"12345678,{A},0x00,,", f"12345679,{B},0x00,,"]


def test_import_adds_to_a_file_and_keeps_its_remarks():
    write("keys.csv", "# mine\n" + OWN)
    Path("keys.csv").chmod(0o644)
    write("more.csv", f"Serial;AES\n12345678;{A}\n99999999;{C}\n")
    result = Result("import", "more.csv", "-o", "keys.csv")
    assert (result.code, result.output) == (0, "keys.csv: 1 added, 1 already known, no conflicts (1 csv file)\n")
    assert Path("keys.csv").read_text() == "# mine\n" + OWN + f"99999999,{C},0x00,,\n"
    assert mode("keys.csv") == 0o600


def test_import_twice_changes_nothing():
    write("list.txt", f"12345678;{A}\n")
    Result("import", "list.txt", "-o", "keys.csv")
    before = Path("keys.csv").stat()
    result = Result("import", "list.txt", "-o", "keys.csv")
    assert "0 added, 1 already known" in result.output
    assert Path("keys.csv").stat().st_mtime_ns == before.st_mtime_ns


def test_import_to_toml():
    write("list.txt", f"12345678;{A}\n")
    Result("import", "list.txt", "-o", "keys.toml")
    write("two.txt", f"12345679;{B};0x20;1\n")
    assert Result("import", "two.txt", "-o", "keys.toml").code == 0
    assert Path("keys.toml").read_text().count("[[key]]") == 2
    assert [key.octets.hex().upper() for _, key in load_keyring("keys.toml")] == [A, B]


def test_import_of_several_kinds_with_mapping_password_and_notes():
    write("a.csv", f"Where,Serial,AES\nflat,12345678,{A}\nflat,12345679,\n")
    write("b.kem", kem())
    mapped = Result("import", "a.csv", "-o", "keys.csv", "--map", "address=Serial,key=AES", "--map", "label=Where")
    assert mapped.errors == "note: a.csv: 1 line without a key left out\n"
    result = Result("import", "b.kem", "-o", "keys.csv", "--password", PASSWORD)
    assert "1 added" in result.output
    assert "(1 kem file)" in result.output
    labels = [(pattern.text, key.label) for pattern, key in load_keyring("keys.csv")]
    assert labels == [("12345678", "flat"), ("76348822", "MC21")]


def test_import_dry_run_writes_nothing():
    write("list.txt", f"12345678;{A}\n")
    result = Result("import", "list.txt", "-o", "keys.csv", "--dry-run")
    assert result.output.startswith("keys.csv: 1 would be added")
    assert not Path("keys.csv").exists()


def test_import_of_nothing_makes_no_file():
    write("list.txt", "# nothing\n")
    assert Result("import", "list.txt", "-o", "keys.csv").output.startswith("keys.csv: 0 added")
    assert not Path("keys.csv").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_conflicts_name_both_lines(dry):
    write("keys.csv", OWN)
    write("list.txt", f"\n12345678;{C}\n11111111;{A}\nELS-12345678-33-03;{C};0x20;1\n")
    result = Result("import", "list.txt", "-o", "keys.csv", *dry)
    assert (result.code, result.fault) == (2, "keyfile.conflict")
    assert result.errors.startswith("2 conflicts, nothing written")
    assert "12345678 KeyID 00: keys.csv line 2 has key" in result.errors
    assert "list.txt line 2 has key" in result.errors
    assert "ELS-12345678-33-03 KeyID 20 version 01h: keys.csv line 3 has key" in result.errors
    assert Path("keys.csv").read_text() == OWN


def test_conflict_between_two_files():
    write("a.txt", f"1;{A}")
    write("b.txt", f"1;{B}")
    assert Result("import", "a.txt", "b.txt", "-o", "keys.csv").errors.startswith("1 conflict, nothing written")
    assert not Path("keys.csv").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"12345678;{A}\n", "name another output"),
        (f"Serial;AES\n12345678;{A}\n", "name another output"),
    ],
)
def test_output_that_is_no_file_of_ours(content, words):
    write("keys.csv", content)
    write("list.txt", f"12345679;{A}\n")
    result = Result("import", "list.txt", "-o", "keys.csv")
    assert (result.code, result.fault) == (2, "keyfile.format")
    assert words in result.errors
    assert Path("keys.csv").read_text() == content


def test_output_that_cannot_be_extended_is_left_alone(monkeypatch):
    write("keys.csv", OWN)
    write("list.txt", f"12345679;{A}\n")
    monkeypatch.setattr(keys, "appended", lambda data, entries: OWN)
    result = Result("import", "list.txt", "-o", "keys.csv")
    assert (result.code, "cannot be extended" in result.errors) == (2, True)


def test_output_directory():
    write("list.txt", f"12345679;{A}\n")
    Path("there").mkdir()
    for output in ("there", "nowhere/keys.csv"):
        result = Result("import", "list.txt", "-o", output)
        assert (result.code, result.fault) == (2, "keyfile.unreadable")
        assert output in result.errors
    assert os.listdir("there") == []


@pytest.mark.parametrize(
    ("arguments", "fault", "words"),
    [
        (["absent.csv"], "keyfile.unreadable", "absent.csv cannot be read"),
        (["wrong.txt"], "keyfile.line", "wrong.txt: 1 line cannot be used:\n  line 1: "),
        (["a.kem"], "keyfile.password", "a.kem is encrypted"),
        (["a.kem", "--password", "no"], "keyfile.password", "a.kem: the password does not open the file"),
        (["damaged.zip"], "keyfile.format", "damaged.zip: "),
        (["names.csv"], "keyfile.format", "The columns are: Serial, Farbe."),
        (["names.csv", "--map", "x=y"], "keyfile.format", "NAME=COLUMN"),
    ],
)
def test_import_refuses(arguments, fault, words):
    write("wrong.txt", f"12345678;{A[:-1]}\n")
    write("a.kem", kem())
    write("damaged.zip", b"PK\x03\x04")
    write("names.csv", "Serial,Farbe\n1,2\n")
    result = Result("import", *arguments, "-o", "keys.csv")
    assert (result.code, result.fault) == (2, fault)
    assert words in result.errors
    assert not Path("keys.csv").exists()
    assert fault in FAULTS


def test_import_needs_its_options():
    assert Result("import").code == 2
    write("list.txt", f"1;{A}")
    result = Result("import", "list.txt")
    assert (result.code, "--output" in result.errors) == (2, True)


# -- passwords ----------------------------------------------------------------------------


def test_password_of_the_environment(monkeypatch):
    write("a.kem", kem())
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    assert len(load_keyring("a.kem")) == 1
    assert Result("import", "a.kem", "-o", "keys.csv").code == 0


def test_password_is_asked_for_at_a_terminal(monkeypatch):
    write("a.kem", kem())
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(files.getpass, "getpass", lambda prompt: asked.append(prompt) or PASSWORD)
    assert len(load_keyring(Path("a.kem"))) == 1
    assert asked == ["Password of a.kem: "]
    monkeypatch.setattr(files.getpass, "getpass", lambda prompt: "")
    with pytest.raises(InputError, match="no password was given"):
        load_keyring("a.kem")


def test_password_given_is_not_asked_for(monkeypatch):
    write("a.kem", kem())
    monkeypatch.setattr(files.getpass, "getpass", lambda prompt: pytest.fail("asked"))
    assert len(load_keyring("a.kem", PASSWORD)) == 1


def test_no_terminal_no_question(monkeypatch):
    write("a.kem", kem())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match=PASSWORD_VARIABLE):
        load_keyring("a.kem")


# -- files --------------------------------------------------------------------------------


def test_load_keyring_finds_keys():
    write("keys.csv", OWN)
    found = load_keyring("keys.csv").find(bytes.fromhex("9315785634123303"))
    assert [key.octets.hex().upper() for key in found] == [A]


def test_file_of_endless_size(monkeypatch):
    monkeypatch.setattr(files, "_LIMIT", 1 << 20)
    write("big", b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="more than 1 MiB"):
        load_keyfile("big")


def test_save_follows_links_and_leaves_nothing_behind(monkeypatch):
    Path("deep").mkdir()
    write("deep/real.csv", "old")
    Path("link.csv").symlink_to("deep/real.csv")
    save_private(Path("link.csv"), "new\r\n")
    assert Path("link.csv").is_symlink()
    assert Path("deep/real.csv").read_bytes() == b"new\r\n"
    monkeypatch.setattr(files.os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_private(Path("link.csv"), "newer")
    assert os.listdir("deep") == ["real.csv"]
    assert Path("deep/real.csv").read_bytes() == b"new\r\n"


def test_private(monkeypatch):
    write("keys.csv", OWN)
    assert private(Path("keys.csv"))
    Path("keys.csv").chmod(0o640)
    assert not private(Path("keys.csv"))
    monkeypatch.setattr(files, "_POSIX", False)
    assert private(Path("keys.csv"))


# -- list ---------------------------------------------------------------------------------


def test_list_shows_fingerprints_only():
    write("keys.csv", OWN)
    result = Result("list", "keys.csv")
    assert result.code == 0
    assert result.errors == ""
    head, first, second, count = result.output.splitlines()
    assert head.split() == ["address", "KeyID", "version", "label", "fingerprint", "purpose"]
    assert first.split() == ["12345678", "00", "cellar", fingerprint(A), "communication"]
    assert second.split() == ["ELS-12345678-33-03", "20", "01", fingerprint(B), "application"]
    assert count == "2 keys"


def fingerprint(key: str) -> str:
    import hashlib

    return hashlib.sha256(bytes.fromhex(key)).hexdigest()[:8]


def test_list_of_nothing():
    write("keys.csv", "address,key,key_id,version,label\n")
    assert Result("list", "keys.csv").output.splitlines()[-1] == "0 keys"


def test_list_jsonl():
    write("keys.csv", OWN)
    assert Result("list", "keys.csv", "--format", "jsonl").rows == [
        {
            "address": "12345678",
            "key_id": 0,
            "version": None,
            "label": "cellar",
            "fingerprint": fingerprint(A),
            "purpose": "communication",
        },
        {
            "address": "ELS-12345678-33-03",
            "key_id": 32,
            "version": 1,
            "label": None,
            "fingerprint": fingerprint(B),
            "purpose": "application",
        },
    ]


def test_list_csv():
    write("keys.csv", OWN)
    assert Result("list", "keys.csv", "--format", "csv").output.splitlines() == [
        "address,key_id,version,label,fingerprint",
        f"12345678,0x00,,cellar,{fingerprint(A)}",
        f"ELS-12345678-33-03,0x20,0x01,,{fingerprint(B)}",
    ]


@pytest.mark.parametrize("form", ["text", "jsonl", "csv"])
def test_show_keys(form):
    write("keys.csv", OWN)
    output = Result("list", "keys.csv", "--format", form, "--show-keys").output
    assert A in output
    assert B in output


def test_shown_csv_is_a_key_file():
    write("keys.csv", OWN)
    write("copy.csv", Result("list", "keys.csv", "--format", "csv", "--show-keys").output)
    assert load_keyfile("copy.csv").own
    assert load_keyring("copy.csv").to_rows() == load_keyring("keys.csv").to_rows()


def test_list_of_foreign_files_notes_and_rights():
    write("delivery.kem", kem(METERS.replace("</Meter>", "</Meter><Meter/>")))
    Path("delivery.kem").chmod(0o644)
    result = Result("list", "delivery.kem", "--password", PASSWORD)
    assert "76348822" in result.output
    assert "delivery.kem: 1 device has no data encryption key" in result.errors
    assert "chmod 600 delivery.kem" in result.errors


def test_labels_are_no_markup():
    write("keys.csv", f"address,key,label\n1,{A},[bold]x[/bold] [/]\n")
    assert "[bold]x[/bold] [/]" in Result("list", "keys.csv").output


def test_list_at_a_terminal(monkeypatch):
    write("keys.csv", OWN)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    lines = re.sub(r"\x1b\[\d*m", "", Result("list", "keys.csv").output).splitlines()
    assert max(map(len, lines)) <= 60
    assert len(lines) > 4


def test_list_with_mapping():
    write("x.csv", f"a,b\n12345678,{A}\n")
    assert "12345678" in Result("list", "x.csv", "--map", "address=a,key=b").output


# -- check --------------------------------------------------------------------------------


@pytest.fixture
def keyfile() -> str:
    return write(
        "keys.csv", f"address,key,label\n12345678,{WRONG},old\n12345678,{A},meter a\n12345678,{B},meter b\n99999999,{C},x\n"
    )


def test_check_says_which_key_fits(keyfile):
    write("telegrams.txt", f"{PROFILE_A}\n# remark\n{PROFILE_B}\n{CLEAR}\n")
    result = Result("check", keyfile, "--telegrams", "telegrams.txt")
    assert result.code == 0
    lines = result.output.splitlines()
    assert lines[1].split() == ["1", "ELS-12345678-33-03", "5", "fits", fingerprint(A), "12345678", "00", "meter", "a", "2f2f"]
    assert lines[2].split() == ["2", "ELS-12345678-33-03", "7", "fits", fingerprint(B), "12345678", "00", "meter", "b", "mac"]
    assert "not encrypted" in lines[3]
    assert lines[4] == "2 of 2 encrypted telegrams have a fitting key; 1 not encrypted"


def test_check_jsonl(keyfile):
    write("telegrams.txt", f"{PROFILE_B}\nrubbish\n")
    result = Result("check", keyfile, "--telegrams", "telegrams.txt", "--format", "jsonl")
    assert result.code == 3
    good, bad = result.rows
    assert good == {
        "telegram": PROFILE_B,
        "address": "ELS-12345678-33-03",
        "mode": 7,
        "profile": "B",
        "state": "fits",
        "key_id": good["key_id"],
        "version": good["version"],
        "fits": [
            {
                "fingerprint": fingerprint(B),
                "address": "12345678",
                "key_id": 0,
                "version": None,
                "label": "meter b",
                "proof": "mac",
                "clean": True,
            }
        ],
        "tried": 3,
        "error": None,
    }
    assert (bad["state"], bad["telegram"], bad["fits"]) == ("undecodable", "", [])
    assert bad["error"]["layer"] == "input"
    assert "line 2" in bad["error"]["message"]


CODES = {
    "all fit": (PROFILE_A, [], 0),
    "nothing encrypted": (CLEAR, [], 0),
    "no key fits": (PROFILE_A.replace("5923C9", "5923C8"), [], 4),
    "no key for the address": (PROFILE_A.replace("78563412", "78563413"), [], 4),
    "cut": (PROFILE_A[:40], [], 3),
    "cut and no key": (PROFILE_A[:40] + "\n" + PROFILE_A.replace("78563412", "78563413"), [], 3),
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_check_exit_codes(keyfile, name, form):
    telegrams, more, code = CODES[name]
    write("telegrams.txt", telegrams)
    assert Result("check", keyfile, "-t", "telegrams.txt", "--format", form, *more).code == code


def test_check_advice(keyfile):
    write("list.txt", f"99999999;{A}\n")
    result = Result("check", "list.txt", "--telegrams", PROFILE_A)
    assert result.code == 4
    assert "no key for this address" in result.output
    assert "0 of 1 encrypted telegram have a fitting key" in result.output
    assert "--all tries the keys of other addresses, too" in result.output
    result = Result("check", "list.txt", "--telegrams", PROFILE_A, "--all")
    assert (result.code, fingerprint(A) in result.output) == (0, True)
    assert "1 of 1 encrypted telegram has a fitting key" in result.output


def test_check_tells_of_several_weak_fits():
    write("list.txt", f"{47394:032X}\n{107316:032X}\n")  # these show 2F 2F in PROFILE_A by chance
    result = Result("check", "list.txt", "--telegrams", PROFILE_A)
    assert result.errors == "note: list.txt: 2 keys without an address, taken for every device\n"
    fitting = [line for line in result.output.splitlines() if "2f2f" in line]
    assert ("several keys fit by a weak proof" in result.output) is (len(fitting) > 1)
    assert fitting


def test_check_tells_of_another_key_id():
    write("keys.csv", f"address,key,key_id\n12345678,{B},0x05\n")
    result = Result("check", "keys.csv", "--telegrams", PROFILE_B)
    assert f"ELS-12345678-33-03: the telegram asks for KeyID 00h, key {fingerprint(B)} is filed as 05h" in result.output


@pytest.mark.parametrize("key", [A, A.lower(), ":".join(A[i : i + 2] for i in range(0, 32, 2))])
def test_check_of_one_key(key):
    result = Result("check", key, "--telegrams", PROFILE_A)
    assert (result.code, fingerprint(A) in result.output, result.errors) == (0, True, "")


def test_check_reads_standard_input(keyfile):
    line = json.dumps({"telegram": PROFILE_A, "key": None})
    assert Result("check", keyfile, "--telegrams", "-", stdin=line + "\n").code == 0
    assert Result("check", keyfile, "--telegrams", "-", "--input", "jsonl", stdin=line + "\n").code == 0


def test_check_of_several_sources(keyfile):
    write("telegrams.txt", f"{PROFILE_A}\n")
    result = Result("check", keyfile, "-t", "telegrams.txt", "-t", PROFILE_B, "--format", "jsonl")
    assert [row["mode"] for row in result.rows] == [5, 7]


def test_check_with_kem_and_mapping(keyfile):
    write("a.kem", kem(METERS.replace(C, A).replace("76348822", "12345678")))
    assert Result("check", "a.kem", "--telegrams", PROFILE_A, "--password", PASSWORD).code == 0
    write("x.csv", f"a,b\n12345678,{A}\n")
    assert Result("check", "x.csv", "--telegrams", PROFILE_A, "--map", "address=a,key=b").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--telegrams", "absent.txt"], "neither a file nor a telegram"),
        (["--telegrams", "empty.txt"], "there is no telegram"),
        ([], "--telegrams"),
        (["--telegrams", PROFILE_A, "--input", "morse"], "morse"),
    ],
)
def test_check_refuses(keyfile, arguments, words):
    write("empty.txt", "# nothing\n")
    result = Result("check", keyfile, *arguments)
    assert result.code == 2 or "morse" in arguments
    if result.code == 2:
        assert words in result.errors


def test_check_of_a_telegram_file_that_cannot_be_read(keyfile, monkeypatch):
    def broken(*_: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(keys, "receptions", broken)
    result = Result("check", keyfile, "--telegrams", "telegrams.txt")
    assert (result.code, "cannot be read" in result.errors) == (2, True)


@pytest.mark.parametrize("text", [A[:-1], A[:-2], A + "00", A.replace("0", "O"), "0x" + A[:-4], A[:16] + "ZZ"])
def test_a_mistyped_key_is_not_repeated(text):
    result = Result("check", text, "--telegrams", PROFILE_A)
    assert (result.code, result.fault) == (2, "key.invalid")
    assert text[:12] not in result.errors


@pytest.mark.parametrize("text", ["deadbeef.csv", "keys", "cafe/babe/deadbeefdeadbeef"])
def test_names_of_files_are_no_keys(text):
    result = Result("check", text, "--telegrams", PROFILE_A)
    assert (result.code, result.fault) == (2, "keyfile.unreadable")
    assert text in result.errors


# -- help ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["import", "list", "check"])
def test_help_has_examples(command):
    result = Result(command, "--help")
    assert result.code == 0
    assert f"oms keys {command}" in result.output
