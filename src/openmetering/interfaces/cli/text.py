"""Telegrams as text for people; colours only on a terminal."""

from __future__ import annotations

import typer

from openmetering.codec.apl.records import Record
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.tpl import rssi_dbm
from openmetering.tables import status_flags
from openmetering.telegram import Telegram
from openmetering.telegram.answer import describe
from openmetering.wire.types import MeterTime

__all__ = ["telegram_text", "value_text"]

_NO_VALUE = ("value.", "record.error")
_STATE_COLOURS = {"plain": "yellow", "decrypted": "green", "already-plain": "yellow", "key-missing": "red", "failed": "red"}


def value_text(record: Record) -> str:
    """Value and unit of a record, or why there is none."""
    if record.error is not None:
        return record.error
    number = record.number_text()
    if number is not None:
        return f"{number} {record.unit}".rstrip()
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat() + (" (summer time)" if value.summer_time else "")
    return "-" if value is None else value.hex().upper() if isinstance(value, bytes) else str(value)


def _heading(telegram: Telegram) -> str:
    link, address = telegram.link, telegram.address
    parts = [typer.style(str(address), bold=True) if address is not None else "no address"]
    if address is not None:
        parts.append(address.medium)
        if address.din:
            parts.append(address.din)
    if isinstance(link, WiredFrame):
        parts.append(f"wired, primary address {link.address}" if link.kind != "single" else "wired")
    elif link is not None:
        parts.append("wireless" + (f", format {link.frame_format}" if link.frame_format else ""))
        if address is not None and link.address != address:
            parts.append(f"sent by {link.address}")
    if link is not None:
        parts.append(link.message)
    return "  ".join(parts)


def _security(telegram: Telegram) -> str:
    report = telegram.security
    words = []
    if report.profile not in (None, "none"):
        words.append("encryption of the extended link layer" if report.profile == "ELL" else f"profile {report.profile}")
    if report.mode is not None:
        words.append(f"mode {report.mode}")
    words.append(typer.style(report.state, fg=_STATE_COLOURS.get(report.state)))
    if report.proof:
        words.append(f"proof {report.proof}" + ("" if report.authenticated else " (not authenticated)"))
    if report.counter is not None:
        words.append(f"counter {report.counter}")
    return ", ".join(words)


def _transport(telegram: Telegram) -> str | None:
    transport = telegram.transport
    if transport is None:
        return None
    text = f"CI {transport.ci:02X}"
    if transport.access_number is None:
        return text
    text += f", access number {transport.access_number}, status {transport.status:02X}"
    if telegram.uplink:
        return text + f" ({', '.join(status_flags(transport.status)) or 'no flags'})"
    level = rssi_dbm(transport.status)
    return text + ("" if level is None else f" (heard at {level} dBm)")


def _place(record: Record) -> str:
    words = [] if record.function == "instantaneous" else [record.function]
    words += [
        f"{name} {number}"
        for name, number in (("storage", record.storage), ("tariff", record.tariff), ("subunit", record.subunit))
        if number
    ]
    return ", ".join((*words, *record.qualifiers))


def _rows(telegram: Telegram) -> list[tuple[str, str, str, str]]:
    kind = telegram.address.device_type if telegram.address is not None else None
    rows = []
    for record in telegram.records:
        tag, codes = describe(record.header, kind)
        rows.append((record.quantity, value_text(record), _place(record), "  ".join((*([tag] if tag else []), *codes))))
    for series in telegram.profiles:
        for point in series.points:
            if point.record is not None:
                place = f"storage {point.storage}, {point.time or 'time unknown'}"
                rows.append((f"  {point.record.quantity}", value_text(point.record), place, "from the profile"))
    return rows


def telegram_text(telegram: Telegram) -> str:
    """A block of text for one telegram: who, how it is protected, what it says."""
    lines = [_heading(telegram), f"  security   {_security(telegram)}"]
    transport = _transport(telegram)
    if transport is not None:
        lines.append(f"  transport  {transport}")
    rows = _rows(telegram)
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for row in rows:
        name, value, place = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        if row[1].startswith(_NO_VALUE):
            value = typer.style(value, fg="red")
        lines.append(f"  {name}   {value}   {place}   {row[3]}".rstrip())
    if telegram.application is not None and not rows:
        lines.append(f"  content    {telegram.application}")
    if telegram.manufacturer_data is not None:
        lines.append(f"  manufacturer data  {telegram.manufacturer_data.hex().upper()}")
    lines += [f"  warning    {fault.message} ({fault.code})" for fault in telegram.warnings]
    if telegram.error is not None:
        lines.append("  " + typer.style(f"error      {telegram.error.message} ({telegram.error.code})", fg="red"))
    return "\n".join(lines) + "\n"
