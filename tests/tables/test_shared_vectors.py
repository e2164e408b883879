"""The facts collected beside the repository: every tag, VIB type and OBIS code must come out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from openmetering.tables import (
    ACTIONS,
    VIF_FB,
    VIF_FD,
    VIF_FDFD,
    VIF_MAIN,
    VIFE,
    ValueInformation,
    command,
    data_point,
    data_point_rows,
    obis,
    obis_rows,
    vib_type,
    vib_type_rows,
)

pytestmark = pytest.mark.corpus

FOLDER = Path(os.environ.get("OPENMETERING_CORPUS", Path(__file__).parents[3] / "shared")) / "vectors"
FIELDS = {"INT": 4, "BCD": 0xC, "8INT": 1, "64INT": 7, "8BCD": 0xC, "VarLen": 0xD, "FI": 4, "G": 2, "J": 3}
DEVICES = {
    "02": [0x02], "08": [0x08], "0A_0B": [0x0A, 0x0B], "0D": [0x0D], "04_0C": [0x04, 0x0C], "03": [0x03],
    "07_16": [0x07, 0x16], "06_15": [0x06, 0x15], "20_21": [0x20, 0x21],
}  # fmt: skip


def read(name: str) -> dict[str, Any]:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"OPENMETERING_CORPUS has no vectors/{name}")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def application() -> dict[str, Any]:
    return read("application.json")


@pytest.fixture(scope="module")
def annex_n() -> dict[str, Any]:
    return read("annex_n_extra.json")


def true_vif(vib: bytes) -> tuple[ValueInformation | None, bytes]:
    """The row of a VIF table and the VIFE behind it, read independently of the tables' doors."""
    if vib[:2] == b"\xfd\xfd":
        return VIF_FDFD[vib[2] & 0x7F], vib[3:]
    if vib[0] in {0xFB, 0xFD}:
        return (VIF_FB if vib[0] == 0xFB else VIF_FD)[vib[1] & 0x7F], vib[2:]
    return VIF_MAIN[vib[0] & 0x7F], vib[1:]


def numbers_of(text: str) -> list[int]:
    """Both ends of every range of ``0..99,101..124``."""
    return [int(part) for chunk in text.split(",") for part in chunk.split("..")]


def test_vib_types_are_complete(application: dict[str, Any]) -> None:
    assert set(vib_type_rows()) == {item["id"] for item in application["vib_types"]["items"]}


def test_vib_types_quantity_unit_and_scale(application: dict[str, Any]) -> None:
    for item in application["vib_types"]["items"]:
        if "vib_first" not in item:
            assert vib_type_rows()[item["id"]].status == "withdrawn"
            continue
        for vib, exponent in ((item["vib_first"], item["exp_first"]), (item["vib_last"], item["exp_last"])):
            assert vib_type(bytes.fromhex(vib)) == item["id"]
            row, extensions = true_vif(bytes.fromhex(vib))
            assert row is not None
            assert row.quantity == item["quantity"]
            if row.quantity == "plain text":
                assert vib_type_rows()[item["id"]].text == item["text"]
                continue
            scaled = row.exponent
            behind_fc = False
            for octet in extensions:
                extension = None if behind_fc else VIFE[octet & 0x7F]
                behind_fc = extension is not None and extension.kind == "extension"
                if extension is not None and extension.kind == "scale":
                    scaled += extension.exponent
            assert scaled == exponent, item
            # corrections: litres per square metre are meant, the annex prints square millimetre
            if item["id"] != "DI04" and vib == item["vib_first"]:
                assert row.unit == item["unit"]


def test_independent_list_of_vib_types(application: dict[str, Any]) -> None:
    for item in application["vib_types_jmbus"]["items"]:
        assert vib_type(bytes.fromhex(item["vib"])) == item["vib_type"]


def test_quantities_of_all_records(application: dict[str, Any]) -> None:
    seen = 0
    for record in records(application["vectors"]):
        vib = bytes.fromhex(record["vib"])
        row, _ = true_vif(vib)
        if row is None:
            assert record["quantity"].startswith("FD reserved")
            continue
        seen += 1
        assert row.quantity == record["quantity"].removesuffix(" (compact profile block)")
        if row.quantity != "plain text":
            assert row.unit == record["unit"]
    assert seen > 300


def records(item: object) -> list[dict[str, Any]]:
    if isinstance(item, dict):
        own = [item] if {"dib", "vib", "quantity"} <= set(item) else []
        return own + [found for value in item.values() for found in records(value)]
    if isinstance(item, list):
        return [found for value in item for found in records(value)]
    return []


def test_data_tags(application: dict[str, Any]) -> None:
    """Every data tag, for each of its devices, VIB types, data types and ends of its ranges."""
    checked = 0
    for item in application["mb_tags"]:
        if item["kind"] != "data" or not item["vib"]:
            continue
        devices = [(code, mark) for group, mark in item["dev"].items() if mark != "S" for code in DEVICES.get(group, [])]
        if not devices:
            devices = [(0x1F, "S")]
        for code, _ in devices:
            for vib in item["vib"]:
                for data in {*item["data"]} & {*FIELDS}:
                    for storage in numbers_of(item["X"]):
                        for tariff in numbers_of(item["T"]):
                            found = data_point(
                                code,
                                vib_type=vib,
                                data_field=FIELDS[data],
                                function=int(item["F"]),
                                storage=storage,
                                tariff=tariff,
                                subunit=0,
                                final_dife=item["final_dife"] == "yes",
                            )
                            checked += 1
                            assert found == item["tag"], (item, code, vib, data, storage, tariff)
    assert checked > 2500


def test_marks_of_the_devices(application: dict[str, Any]) -> None:
    points = data_point_rows()
    assert set(points) == {item["tag"] for item in application["mb_tags"]}
    for item in application["mb_tags"]:
        for group, mark in item["dev"].items():
            for code in DEVICES.get(group, []):
                if mark != "S":
                    assert points[item["tag"]].devices[f"{code:02X}"].replace("/", " ") == mark
        if item["kind"] == "data" and points[item["tag"]].status == "valid":
            assert points[item["tag"]].encryption == item["encryption"]


def test_sensor_tags(application: dict[str, Any]) -> None:
    points = data_point_rows()
    for item in application["mb_sensor_tags"]:
        codes = [device for device in item["dev"] if len(device) == 2 and device[0] == "1"]
        assert all(device in points[item["tag"]].devices for device in codes)
        assert len(points[item["tag"]].devices) >= len(item["dev"])


def test_command_tags(application: dict[str, Any]) -> None:
    """Build the octets from VIB type and action and look the command up again."""
    first = {item["id"]: item.get("vib_first") for item in application["vib_types"]["items"]}
    checked = 0
    for item in application["mb_tags"]:
        if item["kind"] != "command" or not item["vib"]:
            continue
        data = [FIELDS[name] for name in item["data"] if name in FIELDS] or [0]
        device = DEVICES[next(iter(item["dev"]))][0]
        for vib in item["vib"]:
            action, _, rest = vib.rpartition("[")
            octets = bytes.fromhex(first[rest.rstrip("]")])
            if action:
                octets = bytes([*octets[:-1], octets[-1] | 0x80, ACTIONS.index(action)])
            for field in data:
                checked += 1
                assert command(device, vib=octets, data_field=field, storage=int(item["X"])) == item["tag"]
    assert checked > 40


def test_obis_map(application: dict[str, Any]) -> None:
    devices = {
        "all": [0x02, 0x07, 0x1A],
        "0D (cooling)": [0x0D],
        "04, 0C, 0D(eat)": [0x04, 0x0C, 0x0D],
    }
    assert len(obis_rows()) == len(application["obis_map"])
    for item in application["obis_map"]:
        codes = devices.get(item["dev"]) or [int(code, 16) for code in item["dev"].split(",")]
        billing = {"f": "*17", "255": "*255", None: ""}[item["F"]]
        wanted = item["obis"].replace(".e", ".4") + billing
        averaging = item["obis"].startswith(("7-0:43.63", "7-0:43.64", "7-0:43.65"))
        for tag in item["tags"]:
            for code in codes:
                assert wanted in obis(code, tag, storage=17, tariff=4, subunit=0, averaging=averaging), (item, code)


def test_obis_gives_nothing_else(application: dict[str, Any]) -> None:
    printed = {(item["obis"], tag) for item in application["obis_map"] for tag in item["tags"]}
    for row in obis_rows():
        for tag in row.tags:
            assert (row.obis.partition("*")[0], tag) in printed


def test_data_points_of_annex_n(annex_n: dict[str, Any]) -> None:
    checked = 0
    for vector in annex_n["vectors"]:
        expected = vector["expected"]
        # the fragmented messages N.3 to N.5 come from a water meter
        device = int(expected.get("device_type", "07"), 16)
        for point in expected.get("data_points", []):
            dib, raw = bytes.fromhex(point["dib"]), bytes.fromhex(point["raw"])
            vib = bytes.fromhex(point["vib"])
            assert vib_type(vib) == point["vib_type"]
            if point["vib_type"] is None:
                continue
            storage = dib[0] >> 6 & 1 | (dib[1] & 0x0F) << 1 if len(dib) > 1 else dib[0] >> 6 & 1
            # the elements of a profile have the data field of its spacing control octet
            data_field = raw[1] & 0x0F if "profile" in point else dib[0] & 0x0F
            found = data_point(
                device,
                vib_type=point["vib_type"],
                data_field=data_field,
                function=dib[0] >> 4 & 3,
                storage=storage,
                tariff=0,
                subunit=0,
                final_dife=False,
            )
            checked += 1
            wanted = point.get("tag", point.get("tag_of_values"))
            if (point["dib"], point["vib"], wanted) == ("CD01", "6D", None):
                wanted = "DT1!B"  # corrections: the base time of N.13 is of type M, which DT1!B has to accept
            assert found == wanted, point
            if "obis" in point:
                assert list(obis(device, found or "", storage=storage, tariff=0, subunit=0)) == point["obis"]
    assert checked > 60
