"""The history of one series of a meter: a plot, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get

from openmetering.interfaces.web.pages import formats
from openmetering.interfaces.web.pages.charts import SPANS, Chart, Words, consumption, numbers
from openmetering.interfaces.web.pages.inputs import Id, OptionalId, Text
from openmetering.interfaces.web.pages.looks import COUNTERS, main_readings, series_detail, unit_text
from openmetering.interfaces.web.pages.meter import meter_head
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting
from openmetering.services.headend.model import SeriesInfo
from openmetering.services.headend.problems import unknown

__all__ = ["meter_history", "meter_plot"]

_FORMS: Final = ("line", "bars")
_TIMES: Final = ("date", "date time")
_MOST_DIGITS: Final = 6


class Choice(msgspec.Struct, frozen=True):
    """A series on offer."""

    id: int
    name: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The tab; ``rows`` are the plotted values, the newest first."""

    choices: tuple[Choice, ...]
    series: int | None = None
    span: str = ""
    spans: tuple[str, ...] = tuple(SPANS)
    form: str = ""
    counter: bool = False
    title: str = ""
    unit: str = ""
    summary: str = ""
    data: str = ""
    rows: tuple[tuple[datetime, str], ...] = ()


class Curve(msgspec.Struct, frozen=True):
    """What is plotted."""

    series: SeriesInfo
    form: str
    points: list[tuple[datetime, Decimal]]


def _plottable(visit: Visit, device_id: int) -> list[SeriesInfo]:
    """Series that can be drawn, in the order of their weight: those of this moment first."""
    found = [one for one in visit.session.series(device_id) if one.unit or one.quantity in COUNTERS]
    found = [one for one in found if one.quantity not in _TIMES]
    return sorted(found, key=lambda one: (one.storage, one.tariff, one.subunit, one.function != "instantaneous", one.qualifiers))


def _curve(visit: Visit, series: SeriesInfo, span: str, form: str) -> Curve:
    wanted = SPANS[span]
    counter = series.quantity in COUNTERS
    form = form if counter and form in _FORMS else "bars" if counter else "line"
    resolution = wanted.bar if form == "bars" else wanted.slot
    since = visit.now - wanted.length
    points = numbers(visit.session.series_values(series.id, since=since, resolution=resolution))
    return Curve(series, form, consumption(points, wanted.bar) if form == "bars" else points)


def _digits(points: Sequence[tuple[datetime, Decimal]], form: str) -> int:
    """Places behind the decimal sign that say enough."""
    if form == "bars":
        return 3
    exponents = (value.as_tuple().exponent for _, value in points)
    deepest = max((-one for one in exponents if isinstance(one, int)), default=0)
    return max(0, min(deepest, _MOST_DIGITS))


def _find(visit: Visit, device_id: int, series_id: int | None) -> tuple[list[SeriesInfo], SeriesInfo | None]:
    found = _plottable(visit, device_id)
    if series_id is None:
        return found, _main(visit, device_id, found)
    chosen = next((one for one in found if one.id == series_id), None)
    if chosen is None:
        raise unknown("series", series_id)
    return found, chosen


def _main(visit: Visit, device_id: int, found: Sequence[SeriesInfo]) -> SeriesInfo | None:
    """The series that stands for the meter."""
    medium = visit.session.device(device_id).medium
    best = main_readings(medium, [_as_measured(one) for one in found], 1)
    return best[0].info if best else (found[0] if found else None)


class _Measured(msgspec.Struct, frozen=True):
    """A series as if it had a value, to be ranked like readings."""

    info: SeriesInfo
    quantity: str
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    value: str | None = ""
    exponent: int | None = None
    error: str | None = None


def _as_measured(one: SeriesInfo) -> _Measured:
    return _Measured(one, one.quantity, one.unit, one.function, one.storage, one.tariff, one.subunit, one.qualifiers)


def _title(visit: Visit, series: SeriesInfo, form: str, span: str) -> str:
    name = visit.t.term(series.quantity)
    detail = series_detail(series, visit.t)
    name = f"{name} ({detail})" if detail else name
    return visit.t(f"history.per.{span}", name=name) if form == "bars" else name


def _summary(visit: Visit, curve: Curve, digits: int) -> str:
    """The plot in a sentence, for who cannot see it."""
    if not curve.points:
        return visit.t("history.empty")
    values = [value for _, value in curve.points]
    unit = unit_text(curve.series.unit)

    def text(value: Decimal) -> str:
        return f"{formats.number(f'{value:.{digits}f}', visit.locale)} {unit}".rstrip()

    if curve.form == "bars":
        return visit.t("history.sum", count=len(values), total=text(sum(values, Decimal(0))), highest=text(max(values)))
    return visit.t("history.range", count=len(values), lowest=text(min(values)), highest=text(max(values)), last=text(values[-1]))


@get("/meters/{device_id:int}/history", sync_to_thread=True)
def meter_history(visit: Visiting, device_id: Id, series: OptionalId = None, span: Text = "month", form: Text = "") -> Html:
    """The page with the plot."""
    head = meter_head(visit, device_id, "history")
    span = span if span in SPANS else "month"
    found, chosen = _find(visit, device_id, series)
    if chosen is None:
        return visit.render("meter_history.html", View(choices=()), head=head)
    curve = _curve(visit, chosen, span, form)
    digits = _digits(curve.points, curve.form)
    query = urlencode({"series": chosen.id, "span": span, "form": curve.form})
    view = View(
        choices=tuple(Choice(one.id, _choice_name(visit, one)) for one in found),
        series=chosen.id,
        span=span,
        form=curve.form,
        counter=chosen.quantity in COUNTERS,
        title=_title(visit, chosen, curve.form, span),
        unit=unit_text(chosen.unit),
        summary=_summary(visit, curve, digits),
        data=f"/meters/{device_id}/plot?{query}",
        rows=tuple((at, formats.number(f"{value:.{digits}f}", visit.locale)) for at, value in reversed(curve.points)),
    )
    return visit.render("meter_history.html", view, head=head)


def _choice_name(visit: Visit, series: SeriesInfo) -> str:
    detail = series_detail(series, visit.t)
    unit = f" [{unit_text(series.unit)}]" if series.unit else ""
    return f"{visit.t.term(series.quantity)}{unit}{', ' + detail if detail else ''}"


@get("/meters/{device_id:int}/plot", sync_to_thread=True)
def meter_plot(
    visit: Visiting, device_id: Id, series: OptionalId = None, span: Text = "month", form: Text = ""
) -> Response[bytes]:
    """The numbers of the plot as JSON for the script."""
    span = span if span in SPANS else "month"
    _, chosen = _find(visit, device_id, series)
    if chosen is None:
        raise unknown("series", "of this meter")
    curve = _curve(visit, chosen, span, form)
    chart = Chart(
        visit.t.term(chosen.quantity),
        unit_text(chosen.unit),
        curve.form,
        _digits(curve.points, curve.form),
        SPANS[span].bar if curve.form == "bars" else SPANS[span].slot,
        [at.timestamp() for at, _ in curve.points],
        [float(value) for _, value in curve.points],
        Words(visit.t("history.time")),
    )
    return Response(msgspec.json.encode(chart), media_type="application/json")
