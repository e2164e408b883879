"""Reports as PDF: title, notes, plots, and the table with its headings on every page. Needs the extra ``reports``."""

from __future__ import annotations

import io
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from openmetering.errors import InputError
from openmetering.interfaces.web.i18n import Words
from openmetering.services.mdm.report import Cell, Column, Note, Plot, Report

__all__ = ["pdf_of", "shown", "told"]

_WIDTH: Final = 760.0  #: of the table on A4 across, points
_BARS: Final = 40  #: more units than these are no picture any more
_DATES: Final = {"en": "%Y-%m-%d", "de": "%d.%m.%Y"}


def shown(cell: Cell, column: Column, words: Words, zone: ZoneInfo) -> str:
    """A cell as people of a language read it."""
    if cell is None:
        return "–"
    if isinstance(cell, Decimal):
        from openmetering.interfaces.web.pages.formats import number  # the pages show reports: they import this module

        return number(f"{cell:f}", words.locale)
    if isinstance(cell, datetime):
        return cell.astimezone(zone).strftime(_DATES[words.locale] + " %H:%M")
    if isinstance(cell, date):
        return cell.strftime(_DATES[words.locale])
    if column.kind == "quality":
        return words.name("quality", cell)
    return words.term(cell) if column.kind == "term" else cell


def told(note: Note, words: Words) -> str:
    """A note as people of a language read it."""
    values = dict(note.values)
    if "quality" in values:
        values["quality"] = words.name("quality", values["quality"])
    return words(note.key, **values)


def pdf_of(report: Report, words: Words) -> bytes:
    """The report on A4 across. Raises InputError (``input.extra``)"""
    try:
        from reportlab.lib import pagesizes, styles
        from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer
    except ImportError:
        raise InputError("reportlab is not installed; pip install 'openmetering[reports]'", code="input.extra") from None
    zone = ZoneInfo(report.zone)
    sheet = styles.getSampleStyleSheet()
    target = io.BytesIO()
    title = words(f"report.title.{report.kind}")
    document = SimpleDocTemplate(
        target, pagesize=pagesizes.landscape(pagesizes.A4), leftMargin=40, rightMargin=40, topMargin=40, bottomMargin=40,
        title=f"{title}: {report.place}", author="openmetering",
    )  # fmt: skip
    span = f"{_day(report.since, zone, words)} – {_day(report.until, zone, words)}"
    made = words("report.made", at=report.made_at.astimezone(zone).strftime(_DATES[words.locale] + " %H:%M"))
    story: list[Any] = [
        Paragraph(_safe(title), sheet["Title"]),
        Paragraph(_safe(f"{report.place} · {span} · {made}"), sheet["Normal"]),
        Spacer(1, 8),
    ]
    story += (Paragraph(_safe(told(note, words)), sheet["Normal"]) for note in report.notes)
    for plot in report.plots:
        if len(plot.labels) <= _BARS:
            story += [Spacer(1, 10), Paragraph(_safe(f"{words.term(plot.title)} ({plot.unit})"), sheet["Heading3"]), _bars(plot)]
    story += [Spacer(1, 10), _table(report, words, zone, sheet)]
    document.build(story, onFirstPage=_footer(words), onLaterPages=_footer(words))
    return target.getvalue()


def _day(at: datetime, zone: ZoneInfo, words: Words) -> str:
    return at.astimezone(zone).strftime(_DATES[words.locale])


def _safe(text: str) -> str:
    """Text without markup of ReportLab."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _footer(words: Words) -> Any:
    def draw(canvas: Any, document: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 7)
        canvas.drawString(40, 24, "openmetering")
        canvas.drawRightString(800, 24, words("report.page", number=document.page))
        canvas.restoreState()

    return draw


def _table(report: Report, words: Words, zone: ZoneInfo, sheet: Any) -> Any:
    from reportlab.lib import colors
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import LongTable, Paragraph

    small = ParagraphStyle("small", parent=sheet["Normal"], fontSize=7, leading=8.5)
    bold = ParagraphStyle("bold", parent=small, fontName="Helvetica-Bold")
    right = ParagraphStyle("right", parent=small, alignment=2)
    head = [Paragraph(_safe(words(f"report.column.{column.name}")), bold) for column in report.columns]
    rows = [
        [
            Paragraph(_safe(shown(cell, column, words, zone)), right if column.kind == "number" else small)
            for cell, column in zip(row, report.columns, strict=True)
        ]
        for row in report.rows
    ]
    table = LongTable([head, *rows], colWidths=_widths(report), repeatRows=1)
    table.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
            ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.lightgrey),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
            ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    return table


_SHARES: Final = {"text": 2.0, "number": 1.1, "term": 1.4, "quality": 1.3, "moment": 1.5, "day": 1.1, "share": 1.0}


def _widths(report: Report) -> list[float]:
    shares = [3.2 if column.name == "reason" else _SHARES[column.kind] for column in report.columns]
    return [_WIDTH * one / sum(shares) for one in shares]


def _bars(plot: Plot) -> Any:
    from reportlab.graphics.charts.barcharts import VerticalBarChart
    from reportlab.graphics.shapes import Drawing
    from reportlab.lib import colors

    drawing = Drawing(_WIDTH, 150)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 40, 40, _WIDTH - 60, 100
    series = [plot.values, *([plot.before] if plot.before else [])]
    chart.data = [[float(one or 0) for one in values] for values in series]
    chart.categoryAxis.categoryNames = [_short(label) for label in plot.labels]
    chart.categoryAxis.labels.angle = 60
    chart.categoryAxis.labels.fontSize = 6
    chart.categoryAxis.labels.boxAnchor = "ne"
    chart.valueAxis.labels.fontSize = 6
    chart.valueAxis.valueMin = 0
    for place, colour in enumerate((colors.HexColor("#1f6f8b"), colors.HexColor("#b8c4cc"))[: len(series)]):
        chart.bars[place].fillColor = colour
        chart.bars[place].strokeColor = None
    drawing.add(chart)
    return drawing


def _short(label: str) -> str:
    return label.rpartition(", ")[2]
