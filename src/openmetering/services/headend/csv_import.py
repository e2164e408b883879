"""Devices and their places from a CSV file, first as a preview, then in one transaction; and back into such a file.

    address,label,medium,adapter,profile,mode,bidirectional,wired_primary,site,building,unit,room,point,valid_from

    address        ELS-12345678-33-03 or a DIN 43863-5 number; the only column that must be there
    site .. room   the path in the tree from the outside in, gaps allowed; what is not there yet is made
    point          the metering point at the end of the path; the device measures it from ``valid_from`` on (a time with its
                   zone, or a day, which begins at 00:00 UTC; empty: from now on). Where it measured before ends then
    empty cells    leave a thing as it is

Separators are comma, semicolon or tab; lines that begin with # are remarks. A row does one of four things: it is new,
changed, the same, or refused with the reason. A refused row never changes anything.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Final

import msgspec

from openmetering.errors import InputError
from openmetering.services.csv_cells import guarded, unguarded
from openmetering.services.headend.model import NODE_KINDS, Assignment, Device, MeteringPoint, Node, holds
from openmetering.services.headend.problems import conflict, invalid
from openmetering.services.headend.registry import DeviceChange, Registry, canonical_address
from openmetering.storage.database import Database

__all__ = ["COLUMNS", "ImportPlan", "ImportReport", "ImportRow", "Importer", "export_rows"]

_PARTICULARS: Final = ("label", "medium", "adapter", "profile", "mode", "bidirectional", "wired_primary")
COLUMNS: Final = ("address", *_PARTICULARS, *NODE_KINDS, "point", "valid_from")
_LARGEST: Final = 16 << 20
_MOST_ROWS: Final = 200_000
_YES: Final = {"yes": True, "true": True, "1": True, "ja": True, "no": False, "false": False, "0": False, "nein": False}


class ImportRow(msgspec.Struct, frozen=True):
    """What a row does. ``action``: new, changed, same, refused; ``words`` says what changes or why it is refused."""

    line: int
    address: str
    action: str
    words: str = ""


class ImportPlan(msgspec.Struct, frozen=True):
    """What a file does."""

    rows: tuple[ImportRow, ...]
    new: int
    changed: int
    same: int
    refused: int
    places: tuple[str, ...] = ()


class ImportReport(msgspec.Struct, frozen=True):
    """What a file did."""

    plan: ImportPlan
    devices: tuple[Device, ...]

    def words(self) -> str:
        """In words, for the audit trail."""
        plan = self.plan
        return f"{plan.new} new, {plan.changed} changed, {plan.same} the same, {plan.refused} refused"


class _Row(msgspec.Struct, frozen=True):
    """A row that can be read."""

    line: int
    address: str
    change: DeviceChange
    path: tuple[tuple[str, str], ...]
    point: str
    valid_from: datetime | None


class _Refused(Exception):
    """Stops a transaction that was only a preview."""


class Importer:
    """Reads such files into a registry. The preview does the whole work and takes it back: what it shows is what happens."""

    __slots__ = ("_clock", "_database", "_registry")

    def __init__(self, database: Database, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock

    def preview(self, data: bytes, tenant_id: int) -> ImportPlan:
        """What the file would do. Raises InputError (``import.format``)"""
        rows = list(_read(data))
        work = _Work(self._registry, tenant_id, self._clock())
        try:
            with self._database.transaction():
                self._run(work, rows)
                raise _Refused
        except _Refused:
            self._registry.forget()
        return work.plan()

    def apply(self, data: bytes, tenant_id: int, *, partly: bool = False) -> ImportReport:
        """Do it, all or nothing; with ``partly`` the refused rows are left out.

        Raises InputError (``import.format``; ``access.conflict`` for refused rows without ``partly``)
        """
        rows = list(_read(data))
        work = _Work(self._registry, tenant_id, self._clock())
        try:
            with self._database.transaction():
                self._run(work, rows)
                plan = work.plan()
                if plan.refused and not partly:
                    first = next(row for row in plan.rows if row.action == "refused")
                    raise conflict(f"{plan.refused} rows are refused, the first is line {first.line}: {first.words}")
        except BaseException:
            self._registry.forget()
            raise
        return ImportReport(plan, tuple(work.devices))

    def _run(self, work: _Work, rows: Iterable[_Row | ImportRow]) -> None:
        for row in rows:
            if isinstance(row, ImportRow):
                work.done.append(row)
                continue
            try:
                with self._database.transaction():  # a savepoint: a row that is refused leaves nothing behind
                    work.take(row)
            except InputError as error:
                work.refuse(row, error.message)


class _Work:
    """One run over the rows of a file."""

    def __init__(self, registry: Registry, tenant_id: int, now: datetime) -> None:
        self._registry = registry
        self._tenant = tenant_id
        self._now = now
        self._seen: dict[str, int] = {}
        self._nodes: dict[tuple[int | None, str, str], Node] | None = None
        self.done: list[ImportRow] = []
        self.devices: list[Device] = []
        self.places: list[str] = []

    def plan(self) -> ImportPlan:
        """What was done."""
        rows = tuple(sorted(self.done, key=lambda row: row.line))
        new, changed, same, refused = (
            sum(row.action == action for row in rows) for action in ("new", "changed", "same", "refused")
        )
        return ImportPlan(rows, new, changed, same, refused, tuple(self.places))

    def refuse(self, row: _Row, reason: str) -> None:
        """Note that a row does nothing; nodes that it had made are gone again."""
        self._nodes = None
        self.done.append(ImportRow(row.line, row.address, "refused", reason))

    def take(self, row: _Row) -> None:
        """Do what a row says. Raises InputError"""
        if row.address in self._seen:
            raise conflict(f"line {self._seen[row.address]} is about the same device")
        known = self._registry.by_address(row.address)
        foreign = known is None or known.tenant_id is None
        words = [] if foreign or known is None else _differences(known, row.change)
        device = known
        if foreign or device is None or words or device.tenant_id != self._tenant:
            device = self._registry.register(row.address, self._tenant, row.change)
        places: list[str] = []
        words += self._place(device, row, places)
        self._seen[row.address] = row.line
        self.places += places
        if foreign or words:
            self.devices.append(device)
        self.done.append(ImportRow(row.line, row.address, "new" if foreign else "changed" if words else "same", ", ".join(words)))

    def _place(self, device: Device, row: _Row, places: list[str]) -> list[str]:
        if not row.path:
            if row.point:
                raise invalid("a point needs a place: site, building, unit or room")
            return []
        node = self._node(row.path, places)
        if not row.point:
            return []
        point = self._registry.point_named(node.id, row.point)
        if point is None:
            point = self._registry.add_point(node.id, row.point, device.medium)
            places.append(f"point {row.point} in {node.name}")
        return self._assign(device, point, row.valid_from)

    def _node(self, path: tuple[tuple[str, str], ...], places: list[str]) -> Node:
        if self._nodes is None:
            self._nodes = {(node.parent_id, node.kind, node.name): node for node in self._registry.nodes(self._tenant)}
        parent: Node | None = None
        for kind, name in path:
            place = (None if parent is None else parent.id, kind, name)
            found = self._nodes.get(place)
            if found is None:
                found = self._nodes[place] = self._registry.add_node(self._tenant, place[0], kind, name)
                places.append(f"{kind} {name}")
            parent = found
        assert parent is not None
        return parent

    def _assign(self, device: Device, point: MeteringPoint, valid_from: datetime | None) -> list[str]:
        since = valid_from or self._now
        present = _present(self._registry.assignments(device_id=device.id), since)
        if present is not None:
            if present.point_id == point.id:
                return []
            self._registry.end_assignment(present, since)
        self._registry.assign(device, point, since)
        return [f"measures {point.name} from {since.isoformat()}"]


def _present(assignments: Iterable[Assignment], at: datetime) -> Assignment | None:
    """The assignment that holds at a time."""
    return next((one for one in assignments if holds(one, at)), None)


def _differences(device: Device, change: DeviceChange) -> list[str]:
    return [f"{name} {value}" for name, value in change.values().items() if getattr(device, name) != value]


# -- reading --------------------------------------------------------------------------------------


def _wrong(message: str) -> InputError:
    return InputError(message, code="import.format", layer="head-end")


def _read(data: bytes) -> Iterator[_Row | ImportRow]:
    """The rows of a file; a row that cannot be read is refused. Raises InputError (``import.format``)"""
    if len(data) > _LARGEST:
        raise _wrong(f"the file is larger than {_LARGEST >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\x00" in text:
        raise _wrong("this is no text")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise _wrong("the file is empty")
    if len(lines) > _MOST_ROWS:
        raise _wrong(f"the file has more than {_MOST_ROWS} rows")
    head = lines[0][1]
    separator = max(",;\t", key=head.count)
    columns = [cell.strip().lower() for cell in next(csv.reader([head], delimiter=separator))]
    _check_columns(columns)
    for number, line in lines[1:]:
        yield _row(number, columns, line, separator)


def _check_columns(columns: list[str]) -> None:
    if "address" not in columns:
        raise _wrong("the first line names the columns, one of them is address")
    strange = [name for name in columns if name not in COLUMNS]
    if strange:
        raise _wrong(f"there is no column {strange[0][:40]!r}; columns are {', '.join(COLUMNS)}")
    if len(set(columns)) != len(columns):
        raise _wrong("a column is named twice")


def _row(number: int, columns: list[str], line: str, separator: str) -> _Row | ImportRow:
    shown = ""
    try:
        values = next(csv.reader([line], delimiter=separator, strict=True))
        if len(values) > len(columns):
            raise invalid(f"the row has {len(values)} cells, the first line names {len(columns)} columns")
        cells = {name: _plain(value) for name, value in zip(columns, values, strict=False)}
        shown = cells.get("address", "")[:40]
        address = canonical_address(cells.get("address", ""))
        path = tuple((kind, cells[kind]) for kind in NODE_KINDS if cells.get(kind))
        return _Row(number, address, _change(cells), path, cells.get("point", ""), _time(cells.get("valid_from", "")))
    except csv.Error as error:
        return ImportRow(number, shown, "refused", f"the row cannot be read: {error}")
    except InputError as error:
        return ImportRow(number, shown, "refused", error.message)


def _plain(value: str) -> str:
    """A cell without the apostrophe that ``export_rows`` puts before what looks like a formula."""
    return unguarded(value.strip())


def _change(cells: dict[str, str]) -> DeviceChange:
    found: dict[str, str | bool | int] = {}
    for name in _PARTICULARS:
        text = cells.get(name, "")
        if text:
            found[name] = _READERS[name](text) if name in _READERS else text
    return msgspec.convert(found, DeviceChange)


def _yes_or_no(text: str) -> bool:
    found = _YES.get(text.lower())
    if found is None:
        raise invalid(f"bidirectional is yes or no, got {text[:20]!r}")
    return found


def _primary(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise invalid(f"wired_primary is a number, got {text[:20]!r}")
    return int(text)


_READERS: Final[dict[str, Callable[[str], bool | int | str]]] = {
    "bidirectional": _yes_or_no,
    "wired_primary": _primary,
    "adapter": canonical_address,
}


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(f"valid_from is a day or a time with its zone, got {text[:40]!r}") from None


# -- writing --------------------------------------------------------------------------------------


def export_rows(
    registry: Registry,
    tenant_id: int | None,
    at: datetime,
    *,
    ids: frozenset[int] | None = None,
    within: frozenset[int] | None = None,
) -> str:
    """The devices of a tenant (None: of all) as such a file, with where they measure at a time; only some, within some nodes."""
    nodes = {node.id: node for node in registry.nodes(tenant_id) if within is None or node.id in within}
    measures = {}
    for one in registry.assignments():
        if holds(one, at):
            measures[one.device_id] = one
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for device in registry.all_devices(tenant_id):
        if ids is None or device.id in ids:
            writer.writerow([guarded(cell) for cell in _cells(registry, device, measures.get(device.id), nodes)])
    return target.getvalue()


def _cells(registry: Registry, device: Device, assignment: Assignment | None, nodes: dict[int, Node]) -> list[str]:
    cells = dict.fromkeys(COLUMNS, "")
    cells["address"] = device.address
    for name in _PARTICULARS:
        value = getattr(device, name)
        cells[name] = ("yes" if value else "no") if isinstance(value, bool) else "" if value is None else str(value)
    point = None if assignment is None else registry.find_point(assignment.point_id)
    if assignment is not None and point is not None and point.node_id in nodes:
        cells["point"], cells["valid_from"] = point.name, assignment.valid_from.isoformat()
        node = nodes.get(point.node_id)
        while node is not None:
            cells[node.kind] = node.name
            node = None if node.parent_id is None else nodes.get(node.parent_id)
    return [cells[name] for name in COLUMNS]
