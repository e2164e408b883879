"""How table files are read."""

from __future__ import annotations

import pkgutil

import pytest

from openmetering.tables import _load


@pytest.mark.parametrize(
    ("text", "codes"),
    [("6C", [0x6C]), ("00-07", list(range(8))), ("FE-FF", [0xFE, 0xFF]), ("0", [0])],
)
def test_hexadecimal_codes(text: str, codes: list[int]) -> None:
    assert list(_load.hexadecimal(text)) == codes


def test_decimal_codes_are_not_hexadecimal() -> None:
    assert list(_load.decimals("10-12")) == [10, 11, 12]
    assert list(_load.decimals("13")) == [13]


def test_several_codes_in_a_cell() -> None:
    assert _load.numbers("10 1F A0") == (0x10, 0x1F, 0xA0)
    assert _load.numbers("") == ()


@pytest.mark.parametrize(
    ("text", "n", "value"),
    [("n-3", 0, -3), ("n-3", 7, 4), ("n+2", 1, 3), ("n", 5, 5), ("4n+16", 4, 32), ("-1", 9, -1), ("48", 3, 48), ("0", 1, 0)],
)
def test_formulas(text: str, n: int, value: int) -> None:
    assert _load.affine(text, n) == value


@pytest.mark.parametrize("text", ["", "m-3", "n*3", "n-3x"])
def test_no_formula(text: str) -> None:
    with pytest.raises(ValueError, match="no formula"):
        _load.affine(text, 0)


def test_cells_without_number_and_flags() -> None:
    assert _load.optional("") is None
    assert _load.optional("16") == 16
    assert _load.flag("yes") is True
    assert _load.flag("no") is False
    with pytest.raises(KeyError):
        _load.flag("maybe")


def test_rows_have_the_header_as_keys() -> None:
    first = _load.rows("baud_rates.csv")[0]
    assert first["code"] == "B8"
    assert first["baud"] == "300"


def test_an_unknown_file() -> None:
    with pytest.raises(FileNotFoundError):
        _load.rows("no_such_table.csv")


def test_a_loader_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkgutil, "get_data", lambda package, name: None)
    with pytest.raises(FileNotFoundError, match=r"ci\.csv"):
        _load.rows("ci.csv")


def test_a_row_with_a_cell_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkgutil, "get_data", lambda package, name: b"a,b\n1,2,3\n")
    with pytest.raises(ValueError, match="longer"):
        _load.rows("ci.csv")
