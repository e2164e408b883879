"""``oms explain`` as a user meets it: text, JSON and page, golden files, redaction, files, exit codes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering import Decoder, examine
from openmetering.errors import InputError
from openmetering.interfaces.cli import explain
from openmetering.interfaces.cli.explain import anatomy_text
from openmetering.interfaces.web import explain_page as page_module
from openmetering.interfaces.web.explain_page import explain_page
from openmetering.telegram.anatomy import NOTE, anatomy, redact
from tests.telegram import building
from tests.telegram.building import KEY, METER, WATER, frame, wired, wireless

GAS = (
    "434493157856341233037AC98C2075900F002C25B30A000021924D4FBA372FB66E017A75002007109058475F4BC9D1281DF878B80A1B0F98B629024AAC"
    "7279429398BFC549233C0140829B93BAA1"
)
GAS_KEY = KEY.hex()
#: a wired water meter with everything that names a device or a customer
WIRED = wired(
    bytes.fromhex("7278563412A73D0107" + "2A000000")
    + WATER
    + bytes.fromhex("0C7821436587" + "0DFD110A" + b"Ada & <Co>"[::-1].hex() + "0F" + b"maker".hex()),
    address=23,
)
IDENTITY = ("12345678", "78563412", "78 56 34 12", "87654321", "21436587", "8OMG0112345678", "Ada &", "Ada &amp;", "6D616B6572")


class Result:
    """What the command gave: exit code (2 for our InputErrors, as the main program ends), output, messages."""

    def __init__(self, *arguments: str, stdin: str | None = None, colour: bool = False) -> None:
        app = typer.Typer()
        app.callback()(lambda: None)
        explain.register(app)
        result = CliRunner().invoke(app, ["explain", *arguments], input=stdin, color=colour)
        self.output, self.errors, self.code = result.stdout, result.stderr, result.exit_code
        self.fault = ""
        if isinstance(result.exception, InputError):
            self.errors += result.exception.message
            self.code, self.fault = 2, result.exception.code
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception


class Elements(HTMLParser):
    """The start tags of a page with their attributes, its text, and whether its elements are closed in order."""

    VOID = frozenset(("meta", "link", "br", "img", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


# -- golden files -----------------------------------------------------------------------------------


def frozen(page: str) -> str:
    """A page without style, script and their hashes, which the golden files do not hold."""
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)
    page = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    return re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256", page)


CASES = {"gas_profile_b": (GAS, "--key", GAS_KEY), "wired_redacted": (WIRED.hex(), "--redact")}


@pytest.mark.parametrize("name", CASES)
def test_golden_text(name: str, golden: Callable[[str, str], None]) -> None:
    result = Result(*CASES[name])
    assert result.code == 0
    golden(f"explain/{name}.txt", result.output)


@pytest.mark.parametrize("name", CASES)
def test_golden_page(name: str, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "__version__", "0.0.0")
    result = Result(*CASES[name], "--format", "html")
    assert result.code == 0
    golden(f"explain/{name}.html", frozen(result.output))


def test_a_golden_file_that_differs_fails(golden: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        pytest.skip("golden files are being written")
    with pytest.raises(AssertionError, match="differs"):
        golden("explain/gas_profile_b.txt", "something else")
    with pytest.raises(AssertionError, match="missing"):
        golden("explain/no_such_file.txt", "")


# -- text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        bytes.fromhex(GAS),
        WIRED,
        frame(profile="A"),
        frame() + bytes(40),
        wireless(b"\x78" + WATER * 8),
        wireless("40" * 30),
        b"",
    ],
)
@pytest.mark.parametrize("key", [KEY, None])
def test_text_is_readable_at_100_columns(octets: bytes, key: bytes | None) -> None:
    found = anatomy(examine(octets, key))
    text = re.sub(r"\x1b\[[0-9;]*m", "", anatomy_text(found))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    cells = [line[6:29].strip() for line in text.splitlines() if not line[:6].strip(" 0123456789")]
    shown = "".join(cell.replace(" ", "") for cell in cells if re.fullmatch(r"([0-9A-F]{2} ?)+", cell))
    assert shown == "".join(segment.octets for segment in found.segments)


def test_text_says_what_is_wrong() -> None:
    result = Result(frame(profile="A").hex())
    assert result.code == 4
    assert "error  no key for OMG-12345678-01-07 (key.missing)" in result.output
    assert "[key.missing]" in result.output
    trailing = Result((frame() + b"\x01").hex())
    assert "warning  1 octets stand behind the frame (frame.trailing)" in trailing.output
    assert trailing.code == 0


def test_colours_only_on_a_terminal() -> None:
    assert "\x1b[" not in Result(GAS).output
    assert "\x1b[" in Result(GAS, colour=True).output


def test_a_file_never_holds_colours(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    result = Result(GAS, "--key", GAS_KEY, "-o", str(out), colour=True)
    assert result.output == ""
    assert out.read_text(encoding="utf-8") == Result(GAS, "--key", GAS_KEY).output


# -- JSON ---------------------------------------------------------------------------------------------------


def test_json_holds_every_octet() -> None:
    (item,) = json.loads(Result(GAS, "--key", GAS_KEY, "--format", "json").output)
    frame_part, payload = item["parts"]
    octets = "".join(segment["octets"] for section in frame_part["sections"] for segment in section["segments"])
    assert octets == GAS
    assert payload["where"] == "plaintext"
    data = [segment for section in payload["sections"] for segment in section["segments"] if segment["field"] == "data"]
    assert [segment["value"] for segment in data] == ["28504.27 m3", "2008-05-31T23:50", "0"]
    assert set(data[0]) >= {"where", "offset", "size", "octets", "layer", "field", "value", "meaning", "encrypted", "bits"}
    assert item["error"] is None
    assert item["redacted"] is False


# -- the page -------------------------------------------------------------------------------------------------


def page_of(*telegrams: bytes, key: bytes | None = KEY, hidden: bool = False) -> str:
    decoder = Decoder()
    found = [anatomy(decoder.examine(octets, key)) for octets in telegrams]
    return explain_page([redact(item) for item in found] if hidden else found)


def test_the_page_stands_on_its_own() -> None:
    page = page_of(bytes.fromhex(GAS))
    elements = Elements(page)
    assert not {"link", "img", "iframe", "object", "form"} & {tag for tag, _ in elements.found}
    assert not [attributes for _, attributes in elements.found if {"src", "style", "onclick", "action"} & set(attributes)]
    targets = [attributes["href"] or "" for attributes in elements.named("a")]
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"https?:|url\(|@import", page)


def test_the_policy_allows_this_style_and_script_alone() -> None:
    page = page_of(bytes.fromhex(GAS))
    policy = next(row["content"] or "" for row in Elements(page).named("meta") if row.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_octets_and_rows_are_linked() -> None:
    elements = Elements(page_of(bytes.fromhex(GAS)))
    ids = [attributes["id"] for _, attributes in elements.found if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "")[1:] for attributes in elements.named("a")}
    assert targets <= set(ids)
    names = [attributes["data-s"] for attributes in elements.named("a") if "data-s" in attributes]
    rows = [attributes["data-s"] for attributes in elements.named("tr") if "data-s" in attributes]
    assert names == rows
    assert len(names) == len(list(anatomy(examine(bytes.fromhex(GAS), KEY)).segments))


def test_the_page_can_be_read_aloud_and_with_keys() -> None:
    elements = Elements(page_of(bytes.fromhex(GAS)))
    assert elements.named("html")[0]["lang"] == "en"
    assert any(row.get("name") == "viewport" for row in elements.named("meta"))
    labels = [attributes["aria-label"] for attributes in elements.named("a") if "data-s" in attributes]
    assert labels[2] == "Offset 2, 2 octets, manufacturer: ELS"
    assert len(elements.named("caption")) == len(elements.named("table")) == 2
    assert all(attributes.get("scope") for attributes in elements.named("th"))
    assert all(attributes.get("role") for tag in ("table", "tr", "td", "th") for attributes in elements.named(tag))
    assert elements.named("main")
    assert "Skip the octets" in elements.text


def test_light_dark_phone_and_print_are_styled() -> None:
    page = page_of(bytes.fromhex(GAS))
    for rule in ("prefers-color-scheme: dark", "max-width: 46rem", "@media print", "prefers-reduced-motion", ":focus-visible"):
        assert rule in page


def test_text_of_a_telegram_is_escaped() -> None:
    script = b'<script>alert("1")</script>&'
    octets = wireless(b"\x78" + bytes.fromhex("0DFD0C") + bytes((len(script),)) + script[::-1])
    page = page_of(octets)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;" in page
    assert 'alert("1")' in Elements(page).text


def test_several_telegrams_on_one_page() -> None:
    page = page_of(*building.fragments())
    elements = Elements(page)
    assert [row["id"] for row in elements.named("article")] == ["t1", "t2", "t3"]
    assert "3 telegrams" in elements.text
    assert len([row for row in elements.named("a") if row["href"] in ("#t1", "#t2", "#t3")]) == 3
    assert "The joined message" in elements.text


def test_faults_stand_on_the_page() -> None:
    page = page_of(frame(profile="A") + b"\x01", key=None)
    elements = Elements(page)
    assert "Error no key for OMG-12345678-01-07 key.missing" in elements.text
    assert "Warning 1 octets stand behind the frame frame.trailing (link, octet 47)" in elements.text
    assert "Not decoded" in elements.text


def test_an_empty_frame_has_a_page() -> None:
    assert "Octets that are no telegram" in Elements(page_of(b"")).text


# -- redaction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_no_identity_is_left_in_any_form(form: str) -> None:
    shown = Result(WIRED.hex(), "--format", form)
    hidden = Result(WIRED.hex(), "--format", form, "--redact")
    assert (shown.code, hidden.code) == (0, 0)
    for identity in IDENTITY:
        assert identity.upper() not in hidden.output.upper()
    flat = re.sub(r"[^0-9A-Za-z]", "", re.sub(r"<[^>]*>", "", hidden.output)).upper()
    assert "78563412" not in flat
    assert "12345678" in shown.output
    assert "28504.27 m3" in hidden.output
    assert "OMG" in hidden.output


@pytest.mark.parametrize("form", ["text", "json", "html"])
@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("key", [KEY.hex(), "", "FF" * 16])
def test_neither_key_nor_ciphertext_is_left(form: str, profile: str, key: str) -> None:
    octets = frame(profile=profile, counter=9)
    result = Result(octets.hex(), "--format", form, "--redact", *(("--key", key) if key else ()))
    output = re.sub(r"<[^>]*>", "", result.output)
    digits = re.sub(r"[^0-9A-Z]", "", output.upper())
    assert not key or key.upper() not in digits
    assert METER.identification not in output
    cipher = octets[-16:].hex().upper()
    for at in range(0, len(cipher) - 8, 2):
        assert cipher[at : at + 8] not in digits


@pytest.mark.parametrize("form", ["text", "html"])
def test_a_redacted_output_says_so(form: str) -> None:
    output = Result(GAS, "--redact", "--format", form).output
    assert " ".join(NOTE.split()) in " ".join(output.split())
    (item,) = json.loads(Result(GAS, "--redact", "--format", "json").output)
    assert item["redacted"] is True


def test_redacted_octets_are_marked_on_the_page() -> None:
    elements = Elements(page_of(bytes.fromhex(GAS), hidden=True))
    number = [
        row for row in elements.named("a") if row.get("aria-label") == "Offset 4, 4 octets, identification number: redacted"
    ]
    assert len(number) == 1
    assert "red" in (number[0]["class"] or "").split()
    assert "Redacted" in elements.text


# -- sources, options, exit codes -------------------------------------------------------------------------------------


def test_sources(tmp_path: Path) -> None:
    lines = tmp_path / "telegrams.txt"
    lines.write_text("# comment\n" + "\n".join(octets.hex() for octets in building.fragments()) + "\n", encoding="utf-8")
    from_file = Result(str(lines), "--key", GAS_KEY)
    from_pipe = Result("-", "--key", GAS_KEY, stdin=lines.read_text(encoding="utf-8"))
    unnamed = Result("--key", GAS_KEY, stdin=lines.read_text(encoding="utf-8"))
    assert from_file.code == 0
    assert from_file.output == from_pipe.output == unnamed.output
    assert from_file.output.count("The frame as received") == 3
    assert "The joined message" in from_file.output


def test_keys_of_lines_and_of_files(tmp_path: Path) -> None:
    line = json.dumps({"telegram": GAS, "key": GAS_KEY})
    assert "28504.27 m3" in Result("-", "--input", "jsonl", stdin=line).output
    wrong = Result("-", "--input", "jsonl", stdin=json.dumps({"telegram": GAS, "key": "12"}) + "\n" + line)
    assert wrong.code == 4
    assert wrong.output.count("The frame as received") == 1
    file = tmp_path / "keys.csv"
    file.write_text(f"address;key\n12345678;{GAS_KEY}\n", encoding="utf-8")
    file.chmod(0o600)
    assert "28504.27 m3" in Result(GAS, "--keys", str(file)).output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((GAS, "--key", GAS_KEY), 0),
        ((GAS,), 4),
        ((GAS, "--key", "FF" * 16), 4),
        ((wired("70" + "15").hex(),), 3),
        ((frame().hex()[:-4],), 3),
        (((frame() + b"\x00").hex(), "--strict"), 3),
        (((frame() + b"\x00").hex(),), 0),
        ((GAS, "--input", "nonsense"), 2),
        ((GAS, "--format", "nonsense"), 2),
        (("no-such-file",), 2),
        ((GAS, "--key", "12"), 2),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int) -> None:
    assert Result(*arguments).code == code


def test_lines_that_are_no_telegrams() -> None:
    result = Result("-", stdin=f"nonsense\n{frame().hex()}\n")
    assert result.code == 3
    assert "not a telegram" in result.errors
    assert result.output.count("The frame as received") == 1
    nothing = Result("-", stdin="# nothing\n")
    assert nothing.code == 2
    assert "no telegram" in nothing.errors
    only_bad = Result("-", stdin="nonsense\n")
    assert (only_bad.code, only_bad.output) == (3, "")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    result = Result(GAS, "-o", str(tmp_path / "missing" / "page.html"), "--format", "html")
    assert (result.code, result.fault) == (2, "input.output")


def test_known_formats_open_compact_frames(tmp_path: Path) -> None:
    compact = wireless(b"\x79" + building.COMPACT).hex()
    assert Result(compact).code == 3
    both = Result("-", stdin=f"{wireless(bytes.fromhex('78') + WATER).hex()}\n{compact}\n")
    assert both.code == 0
    assert "of the known format" in both.output


def test_help_shows_examples_and_exit_codes() -> None:
    output = Result("--help").output
    assert "oms explain" in output
    assert "--redact" in output
    assert "Exit codes" in output


def test_the_page_is_written_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = Result(GAS, "--key", GAS_KEY, "--format", "html", "-o", str(out))
    assert (result.code, result.output) == (0, "")
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text == Result(GAS, "--key", GAS_KEY, "--format", "html").output
