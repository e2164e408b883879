"""What holds for every table file: layout, sources, unique keys."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import openmetering
from openmetering import tables
from openmetering.tables import _load

FOLDER = Path(tables.__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.csv"))

# file -> the columns that name a row
KEYS = {
    "afl_algorithms.csv": ("code",),
    "application_errors.csv": ("code",),
    "applications.csv": ("number",),
    "arge_keys.csv": ("table", "key", "value"),
    "baud_rates.csv": ("code",),
    "c_field.csv": ("codes", "medium", "direction"),
    "ci.csv": ("code",),
    "datapoints.csv": ("tag",),
    "device_types.csv": ("code",),
    "error_flags.csv": ("set", "code", "manufacturer"),
    "faults.csv": ("code",),
    "fixed_media.csv": ("code",),
    "fixed_units.csv": ("code",),
    "image_transfer.csv": ("kind", "code"),
    "key_ids.csv": ("code",),
    "lvar.csv": ("code",),
    "manufacturers.csv": ("code",),
    "mscons_codes.csv": ("element", "code"),
    "mscons_elements.csv": ("segment", "element", "component"),
    "mscons_quality.csv": ("quality",),
    "mscons_segments.csv": ("group", "segment", "qualifier"),
    "obis.csv": ("obis", "device_types", "part", "kind", "averaging"),
    "radio_modes.csv": ("mode", "direction"),
    "register_status.csv": ("part", "bit"),
    "security_modes.csv": ("mode",),
    "sitp_bcf.csv": ("command",),
    "sitp_dsi.csv": ("code",),
    "sitp_pid.csv": ("code",),
    "sitp_status.csv": ("code",),
    "status.csv": ("mask", "value"),
    "units.csv": ("unit",),
    "vib_types.csv": ("id",),
    "vif_fb.csv": ("code", "edition"),
    "vif_fd.csv": ("code",),
    "vif_fdfd.csv": ("code",),
    "vif_main.csv": ("code",),
    "vife.csv": ("code",),
    "vife_fc.csv": ("code",),
}
#: files whose first column holds ranges of hexadecimal codes that must not overlap
RANGES = sorted(name for name, key in KEYS.items() if key == ("code",) and name not in {"faults.csv", "manufacturers.csv"})


def test_every_file_is_known() -> None:
    assert set(KEYS) <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_rows_are_complete(name: str) -> None:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        header, *body = csv.reader(file)
    assert body
    assert all(len(line) == len(header) for line in body)
    assert all(cell == cell.strip() for line in body for cell in line)


@pytest.mark.parametrize("name", sorted(set(KEYS) - {"faults.csv"}))
def test_rows_name_source_and_confidence(name: str) -> None:
    for row in _load.rows(name):
        assert row["source"], row
        assert row["confidence"] in {"V", "O", "S", "K", "?"}, row


@pytest.mark.parametrize("name", sorted(KEYS))
def test_keys_are_unique(name: str) -> None:
    counted = Counter(tuple(row[column] for column in KEYS[name]) for row in _load.rows(name))
    assert [key for key, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("name", RANGES)
def test_ranges_do_not_overlap(name: str) -> None:
    editions = {row.get("edition", "") for row in _load.rows(name)}
    for edition in editions:
        lines = [row for row in _load.rows(name) if row.get("edition", "") == edition]
        codes = Counter(code for row in lines for code in _load.hexadecimal(row["code"]))
        assert [code for code, count in codes.items() if count > 1] == []


def test_public_names_exist_and_are_sorted_out() -> None:
    assert len(set(tables.__all__)) == len(tables.__all__)
    assert all(hasattr(tables, name) for name in tables.__all__)


def test_the_floor_loads_no_forbidden_module() -> None:
    """Sans-IO, and the large tables wait for their first use."""
    source = (
        "import sys; import openmetering.tables as t\n"
        "assert not {'numpy', 'asyncio', 'sqlite3', 'importlib.resources', 'tempfile'} & set(sys.modules), 'heavy'\n"
        "from openmetering.tables import data_points as d\n"
        "assert d.vib_type_rows.cache_info().currsize == 0\n"
        "assert d.data_point_rows.cache_info().currsize == 0\n"
        "assert d.obis_rows.cache_info().currsize == 0\n"
    )
    root = str(Path(openmetering.__file__).parent.parent)
    subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[root, *sys.path]!r}\n{source}"], check=True)
