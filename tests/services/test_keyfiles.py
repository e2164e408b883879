"""Key files of every kind: reading, notes, errors without keys, merging, writing."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError
from openmetering.security import AddressPattern, Key, KeyRing
from openmetering.services.keyfiles import (
    KeyEntry,
    KeyFile,
    appended,
    detect,
    merge,
    needs_password,
    new_file,
    parse_columns,
    read_keys,
    ring,
)

A = "000102030405060708090A0B0C0D0E0F"
B = "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF"
C = "11111111222222223333333344444444"
DES = "0123456789ABCDEF"


def rows(file: KeyFile) -> list[tuple[str, ...]]:
    """Columns of an own key file, with the place."""
    return [(entry.place, *ring([entry]).to_rows()[0]) for entry in file.entries]


def read(text: str, **more) -> KeyFile:
    return read_keys(text.encode(), **more)


def refused(text: str | bytes, **more) -> InputError:
    with pytest.raises(InputError) as caught:
        read_keys(text if isinstance(text, bytes) else text.encode(), **more)
    message = caught.value.message
    assert not any(secret[:8] in message for secret in (A, B, C, DES))
    return caught.value


# -- one table for all kinds --------------------------------------------------------------

OWN_CSV = f"""# key file
address,key,key_id,version,label
12345678,{A},,,
ELS-12345678-33-03,{B},0x20,1,"cellar, left"

# bulk key
*,{C},*,,everything
12340000,{DES},0,0xFF,DES of an old meter
"""
OWN_ROWS = [
    ("line 3", "12345678", A, "0x00", "", ""),
    ("line 4", "ELS-12345678-33-03", B, "0x20", "0x01", "cellar, left"),
    ("line 7", "*", C, "*", "", "everything"),
    ("line 8", "12340000", DES, "0x00", "", "DES of an old meter"),
]
OWN_TOML = f"""# keys
[[key]]
address = "12345678"
key = "{A}"

[[key]]
address = "ELS-12345678-33-03"
key = "{B}"
key_id = 0x20
version = "1"
label = "cellar, left"

[[ key ]]
address = "*"
key = "{C}"
key_id = "*"
"""

KINDS = {
    "own csv": ("csv", OWN_CSV, OWN_ROWS),
    "own csv with a mark": ("csv", "\ufeff" + OWN_CSV, OWN_ROWS),
    "own csv of Windows": ("csv", OWN_CSV.replace("\n", "\r\n"), OWN_ROWS),
    "own toml": (
        "toml",
        OWN_TOML,
        [
            ("line 2", "12345678", A, "0x00", "", ""),
            ("line 6", "ELS-12345678-33-03", B, "0x20", "0x01", "cellar, left"),
            ("line 13", "*", C, "*", "", ""),
        ],
    ),
    "toml inline": ("toml", f'key = [{{address = "1", key = "{A}"}}]', [("key 1", "00000001", A, "0x00", "", "")]),
    "usual names": ("csv", f"Serial;AES Key;Bemerkung\n12345678;{A};Küche\n", [("line 2", "12345678", A, "0x00", "", "Küche")]),
    "tabs": ("csv", f"Meter ID\tEncryption-Key\n12345678\t{A}\n", [("line 2", "12345678", A, "0x00", "", "")]),
    "maker of its own": ("csv", f"Manufacturer,ID,Key\nELS,12345678,{A}\n", [("line 2", "ELS-12345678", A, "0x00", "", "")]),
    "exact names win": ("csv", f"id,address,key\n7,12345678,{A}\n", [("line 2", "12345678", A, "0x00", "", "")]),
    "quoted line end": (
        "csv",
        f'address,key,label\n12345678,{A},"two\nlines"\n1,{B},\n',
        [("line 3", "12345678", A, "0x00", "", "two lines"), ("line 4", "00000001", B, "0x00", "", "")],
    ),
    "semicolons": ("list", f"12345678;{A}\nELS 12345679 ; {B} # flat 3\n", [
        ("line 1", "12345678", A, "0x00", "", ""), ("line 2", "ELS-12345679", B, "0x00", "", "")]),
    "commas": ("list", f"# mine\n\n12345678,{A}\n", [("line 3", "12345678", A, "0x00", "", "")]),
    "blanks": ("list", f"  12345678   {A}  \n", [("line 1", "12345678", A, "0x00", "", "")]),
    "tab list": ("list", f"12345678\t{A}", [("line 1", "12345678", A, "0x00", "", "")]),
    "list with all columns": ("list", f"1;{A};0x20;2;left; cellar", [("line 1", "00000001", A, "0x20", "0x02", "left; cellar")]),
    "spaced key": ("list", f"1;{' '.join(A[i : i + 2] for i in range(0, 32, 2))}", [("line 1", "00000001", A, "0x00", "", "")]),
    "bare keys": ("list", f"{A}\n{B}\n", [("line 1", "*", A, "*", "", ""), ("line 2", "*", B, "*", "", "")]),
    "empty": ("list", "\n# nothing\n", []),
    "header only": ("csv", "address,key,key_id,version,label\n", []),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    kind, text, expected = KINDS[name]
    assert detect(text.encode()) == kind
    found = read(text, source="keys.x")
    assert found.kind == kind
    assert rows(found) == expected
    assert [entry.source for entry in found.entries] == ["keys.x"] * len(expected)
    assert not needs_password(text.encode())


METER = f"<Meter><MeterName>MC21</MeterName><SerialNo>12345678</SerialNo><DEK>{A}</DEK></Meter>"
KEM = f"<MetersInOrder>{METER}<Meter/></MetersInOrder>"
KEM2 = f"<Devices><Device><SerialNumber>12345678</SerialNumber><Key Type='DEK'><Value>{A}</Value></Key></Device></Devices>"


@pytest.mark.parametrize(
    ("text", "kind", "place", "label", "notes"),
    [
        (KEM, "kem", "meter 1", "MC21", ("1 device has no data encryption key (DEK) and was left out",)),
        (KEM2, "kem2", "device 1", "", ()),
    ],
)
def test_kamstrup_files(text, kind, place, label, notes):
    assert detect(text.encode()) == "kem"
    assert not needs_password(text.encode())
    found = read(text)
    assert (found.kind, found.notes, found.own) == (kind, notes, False)
    assert rows(found) == [(place, "12345678", A, "0x00", "", label)]


def test_kamstrup_file_with_a_serial_number_of_another_kind():
    error = refused(KEM.replace("12345678", "ABC/123456789"))
    assert error.code == "keyfile.line"
    assert "meter 1" in error.message


@pytest.mark.parametrize(
    ("name", "own"),
    [("own csv", True), ("own toml", True), ("usual names", False), ("semicolons", False), ("toml inline", False)],
)
def test_own_files_are_known(name, own):
    assert read(KINDS[name][1]).own is own


def test_utf16_and_windows_1252():
    text = f"address,key,label\n1,{A},Küche\n"
    for encoding in ("utf-16", "cp1252"):
        assert read_keys(text.encode(encoding)).entries[0].key.label == "Küche"


def test_labels_lose_control_characters():
    label = read(f"address,key,label\n1,{A},a\x1b[31m\tb\x07\n").entries[0].key.label
    assert label == "a [31m b"


def test_missing_keys_are_left_out_and_counted():
    found = read(f"address,key\n1,\n2,NOKEY\n3,n/a\n4,{A}\n")
    assert [entry.place for entry in found.entries] == ["line 5"]
    assert found.notes == ("3 lines without a key left out",)
    assert read("address,key\n1,-\n").notes == ("1 line without a key left out",)


def test_bare_keys_are_noted():
    assert read(A).notes == ("1 key without an address, taken for every device",)
    assert read(f"{A}\n{B}").notes == ("2 keys without an address, taken for every device",)


# -- columns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns", "places"),
    [
        (f"Serial,AES,Extra\n12345678,{A},x\n", {"address": "Serial", "key": "AES"}, ["line 2"]),
        (f"Serial,AES,Extra\n12345678,{A},x\n", {"address": "serial", "key": "aes", "label": "Extra"}, ["line 2"]),
        (f"x,y,z\nq,{A},12345678\n", {"address": "3", "key": "y"}, ["line 2"]),
        (f"q,{A},12345678\n", {"address": "3", "key": "2"}, ["line 1"]),
        (f"Where;What;Number\nq;{A};12345678\n", {"address": "3", "key": "2"}, ["line 2"]),
        (f"ELS;12345678;{A}\n", {"address": "2", "key": "3", "manufacturer": "1"}, ["line 1"]),
        ("", {"address": "2", "key": "3"}, []),
    ],
)
def test_mapping(text, columns, places):
    found = read(text, columns=columns)
    assert [entry.place for entry in found.entries] == places
    assert all(entry.pattern.matches(bytes.fromhex("9315785634120000")) for entry in found.entries)


def test_header_that_numbers_skip_is_noted():
    found = read(f"Where;What;Number\nq;{A};12345678\n", columns={"address": "3", "key": "2"})
    assert found.notes == ("line 1 taken as the names of the columns",)


def test_mapped_file_is_not_ours():
    assert not read(f"a,b\n1,{A}\n", columns={"address": "a", "key": "b"}).own


@pytest.mark.parametrize(
    ("specifications", "expected"),
    [
        (["address=Serial,key=AES"], {"address": "Serial", "key": "AES"}),
        (["address = Serial", "key=AES", "label=Flat no"], {"address": "Serial", "key": "AES", "label": "Flat no"}),
        ([], {}),
        ([""], {}),
    ],
)
def test_parse_columns(specifications, expected):
    assert parse_columns(specifications) == expected


@pytest.mark.parametrize(
    ("specification", "words"),
    [
        ("address", "NAME=COLUMN"),
        ("address=", "NAME=COLUMN"),
        ("colour=red", "manufacturer"),
        ("address=a,address=b,key=c", "address is mapped to two columns"),
        ("address=a", "which column is key"),
        ("label=a", "which column is address and which is key"),
    ],
)
def test_wrong_mappings(specification, words):
    with pytest.raises(InputError, match=words) as caught:
        parse_columns([specification])
    assert caught.value.code == "keyfile.format"


# -- errors -------------------------------------------------------------------------------

WRONG_FILES = {
    "no column of a key": (
        "Serial,Colour\n1,red\n",
        {},
        "name them with --map address=...,key=... The columns are: Serial, Colour.",
    ),
    "two columns of an address": ("serial,meter,key\n1,2,3\n", {}, "2 columns could be the address"),
    "no such column": (
        "Serial,AES\n",
        {"columns": {"address": "Number", "key": "AES"}},
        "no column 'Number' for the address. The columns are",
    ),
    "no such number": ("Serial,AES\n", {"columns": {"address": "1", "key": "3"}}, "no column '3' for the key"),
    "names not shown": (
        f"1,{A}\n",
        {"columns": {"address": "a", "key": "b"}},
        "The first line has 2 columns and they are no names.",
    ),
    "toml cut": ('[[key]]\naddress = "1\n', {}, "damaged in line 2"),
    "toml without key": ('[[key]]\naddress = "1"\n', {}, "missing required field `key`"),
    "toml with more": (f'[[key]]\naddress = "1"\nkey = "{A}"\ncolour = 1\n', {}, "unknown field `colour`"),
    "toml of another program": ("[server]\nport = 1\n", {}, "unknown field `server`"),
    "octets": (b"\x01\x00\x02", {}, "no text"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_files(name):
    text, more, words = WRONG_FILES[name]
    error = refused(text, source="f.csv", **more)
    assert error.code == "keyfile.format"
    assert error.layer == "input"
    assert error.message.startswith("f.csv: ")
    assert words in error.message


def test_exact_name_wins_over_usual_names():
    assert rows(read(f"id,key,AES\n1,{A},{B}\n")) == [("line 2", "00000001", A, "0x00", "", "")]


def test_field_beyond_all_measure():
    assert "quotation mark" in refused('address,key\n1,"' + "x" * 200_000).message


def test_all_unusable_lines_are_named():
    text = f"12345678;{A}\n12345678;{A[:-1]}\n\nhello;{B}\n1;{B};999\n{B};12345678\n"
    error = refused(text, source="list.txt")
    assert error.code == "keyfile.line"
    first, *lines = error.message.split("\n")
    assert first == "list.txt: 4 lines cannot be used:"
    assert [line.split(":")[0].strip() for line in lines] == ["line 2", "line 4", "line 5", "line 6"]
    assert "31 digits" in lines[0]
    assert "KeyID" in lines[2]
    assert "swapped" in lines[3] or "key is 32" in lines[3]


def test_long_lists_of_errors_are_cut():
    message = refused("\n".join(f"{n};zz" for n in range(30))).message
    assert message.startswith("30 lines cannot be used:")
    assert message.endswith("\n  and 20 more")
    assert len(message.split("\n")) == 12


def test_one_wrong_line():
    assert refused(f"1;{A}\n2;{A}{A}").message.startswith("1 line cannot be used:\n  line 2: ")


def test_a_mistyped_key_alone_is_not_repeated():
    error = refused("NoAddressAndNoKey0011")
    assert "NoAddress" not in error.message
    assert error.code == "keyfile.line"


@pytest.mark.parametrize("cell", [A[:-1], A + "0", "0x" + A[:-2], "G" + A[1:], A.replace("0", "O")])
def test_mistyped_keys_in_the_first_line_are_not_repeated(cell):
    for text in (f"12345678,{cell}\n", f"ELS,{cell}\n", f"address,{cell}\n"):
        with pytest.raises(InputError) as caught:
            read(text)
        assert cell[:6] not in caught.value.message
    with pytest.raises(InputError) as caught:
        read(f"12345678,{cell}\n", columns={"address": "Serial", "key": "AES"})
    assert cell[:6] not in caught.value.message


def only_our_errors(data: bytes) -> bool:
    """True if the octets give a file or an InputError of key files."""
    try:
        found = read_keys(data)
    except InputError as error:
        return error.code.startswith("keyfile.")
    return all(isinstance(entry, KeyEntry) for entry in found.entries)


@given(st.binary(max_size=200))
def test_any_octets_give_a_file_or_our_error(data):
    assert only_our_errors(data)
    assert only_our_errors(b"PK\3\4" + data)
    assert only_our_errors(b"<" + data)


@given(st.text(alphabet='0123456789ABCDEFxyz,;\t"#[]=\n *-', max_size=200))
def test_any_text_gives_a_file_or_our_error(text):
    assert only_our_errors(text.encode())


# -- secrecy ------------------------------------------------------------------------------


def test_representations_show_no_key():
    found = read(OWN_CSV)
    merged = merge(found.entries, read(f"12345678;{B}").entries)
    for shown in (repr(found), repr(found.entries[0]), repr(merged), str(merged)):
        assert A not in shown.upper()
        assert B not in shown.upper()
    assert repr(bytes.fromhex(A))[2:-1] not in repr(found)


# -- merging ------------------------------------------------------------------------------


def entry(address: str, key: str, key_id: int | None = 0, version: int | None = None, place: str = "line 1") -> KeyEntry:
    return KeyEntry(AddressPattern.parse(address), Key(bytes.fromhex(key), key_id, version), place, "f")


def test_merge_counts():
    held = [entry("1", A), entry("2", A)]
    more = [entry("1", A), entry("2", B), entry("3", C), entry("3", C), entry("3", A), entry("1", B, 0x20), entry("1", B, 0, 1)]
    result = merge(held, more)
    assert result.added == (more[2], more[5], more[6])
    assert result.known == 2
    assert result.conflicts == ((held[1], more[1]), (more[2], more[4]))


def test_merge_of_nothing():
    assert merge([], []).added == ()
    assert merge([entry("1", A)], []).known == 0


def test_one_address_written_in_two_ways_is_one_slot():
    assert merge([entry("ELS-12345678-33-03", A)], [entry("ELS.12345678.33.03", B)]).conflicts


def test_where_and_slot():
    one = entry("1", A, 0x20, 3, "line 7")
    assert one.where == "f line 7"
    assert KeyEntry(one.pattern, one.key, "line 7").where == "line 7"
    assert one.slot == (AddressPattern.parse("1"), 0x20, 3)


def test_ring_finds():
    found = ring(read(OWN_CSV).entries)
    assert isinstance(found, KeyRing)
    assert len(found) == 4
    keys = found.find(bytes.fromhex("9315785634123303"), key_id=0x20)
    assert [key.octets.hex().upper() for key in keys] == [B, C]


# -- writing ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "toml"])
def test_new_files_read_back(kind):
    entries = read(OWN_CSV).entries
    text = new_file(entries, kind)
    assert text.startswith("# key file of openmetering")
    found = read(text)
    assert (found.kind, found.own) == (kind, True)
    assert [row[1:] for row in rows(found)] == [row[1:] for row in OWN_ROWS]


def test_toml_is_written_as_numbers():
    text = new_file(read(f'1;{A};0x20;2;x "y" \\z').entries, "toml")
    assert tomllib.loads(text) == {"key": [{"address": "00000001", "key": A, "key_id": 0x20, "version": 2, "label": 'x "y" \\z'}]}


@pytest.mark.parametrize("text", [OWN_CSV, OWN_TOML, OWN_CSV.rstrip("\n"), OWN_CSV.replace("\n", "\r\n")])
def test_appending_keeps_what_was_there(text):
    more = read(f"99999999;{C};0x21;;new").entries
    grown = appended(text.encode(), more)
    assert grown.startswith(text.replace("\r\n", "\n"))
    before, after = rows(read(text)), rows(read(grown))
    assert after[: len(before)] == before
    assert [row[1:] for row in after[len(before) :]] == [("99999999", C, "0x21", "", "new")]


@pytest.mark.parametrize("name", ["usual names", "semicolons", "toml inline"])
def test_appending_to_foreign_files_is_refused(name):
    with pytest.raises(InputError, match="name another output") as caught:
        appended(KINDS[name][1].encode(), [])
    assert caught.value.code == "keyfile.format"


LABELS = st.text(max_size=30)


@given(
    st.lists(
        st.tuples(st.binary(min_size=16, max_size=16), st.none() | st.integers(0, 255), st.none() | st.integers(0, 254), LABELS),
        max_size=5,
    )
)
def test_written_files_read_back_whatever_the_label(keys):
    rings = KeyRing()
    for number, (octets, key_id, version, label) in enumerate(keys):
        rings.add(f"{number:08d}", octets, key_id, version, label)
    entries = [
        KeyEntry(pattern, Key(key.octets, key.key_id, key.version, read_label(key.label)), "line 1") for pattern, key in rings
    ]
    for kind in ("csv", "toml"):
        text = new_file(entries, kind)
        if not entries:
            assert not read(text).entries
            continue
        assert [row[1:] for row in rows(read(text))] == [ring([one]).to_rows()[0] for one in entries]
        assert [one.key for one in read(text).entries] == [one.key for one in entries]


def read_label(label: str | None) -> str | None:
    """The label as a key file gives it back."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in label or "").split()) or None
