"""Numbers, times and durations as people write them in their language. Pure functions; ``now`` is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime

from openmetering.interfaces.web.i18n import Words

__all__ = ["ago", "duration", "iso", "meter_time", "moment", "number", "percent"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
#: locale -> sign between thousands, decimal sign
_SIGNS = {"en": (",", "."), "de": (".", ",")}
_DATES = {"en": "%Y-%m-%d", "de": "%d.%m.%Y"}
_GROUP = 4  #: numbers of four digits are not grouped


def number(text: str, locale: str) -> str:
    """A decimal number, digit for digit, with the signs of the language; other text as it is."""
    sign = text[:1] if text[:1] in "+-" else ""
    whole, point, fraction = text[len(sign) :].partition(".")
    if not whole.isdecimal() or (point and not fraction.isdecimal()):
        return text
    thousands, decimal = _SIGNS[locale]
    if len(whole) > _GROUP:
        whole = f"{int(whole):,}".replace(",", thousands) if whole[0] != "0" else whole
    return f"{'−' if sign == '-' else sign}{whole}{decimal if point else ''}{fraction}"


def percent(share: float, locale: str) -> str:
    """A share of 0 to 1 in whole percent."""
    return f"{number(str(round(share * 100)), locale)} %"


def moment(at: datetime, locale: str, *, day: bool = False) -> str:
    """A time in UTC, said so; the script of the page turns it into the zone of the reader."""
    text = at.astimezone(UTC)
    return text.strftime(_DATES[locale]) if day else text.strftime(_DATES[locale] + " %H:%M UTC")


def meter_time(text: str, locale: str) -> str:
    """A time as a meter tells it, which knows no zone: ISO 8601 in the order of the language; other text as it is."""
    day, _, clock = text.partition("T")
    try:
        day = date.fromisoformat(day).strftime(_DATES[locale])
    except ValueError:
        return text
    return f"{day} {clock}".rstrip()


def iso(at: datetime) -> str:
    """A time for programs."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float, words: Words, *, days: str = "days") -> str:
    """A length of time in its largest unit that says enough: 45 s, 12 min, 5 h, 3 days.

    ``days`` is the form of that word: German has another one for a distance (``days-apart``: vor 3 Tagen)
    """
    for unit, name in ((_DAY, days), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * unit or (unit == _MINUTE and seconds >= 100):
            return words.count(f"duration.{name}", round(seconds / unit))
    return words.count("duration.seconds", max(0, round(seconds)))


def ago(at: datetime, now: datetime, words: Words) -> str:
    """How long ago something was, or how soon it will be."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 5:
        return words("duration.now")
    return words("duration.ago" if seconds > 0 else "duration.ahead", duration=duration(abs(seconds), words, days="days-apart"))
