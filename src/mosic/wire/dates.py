"""HTTP dates, read and written (RFC 9110 §5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}

_DAY = f"(?:{'|'.join(_DAYS)})"
_LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = (
    re.compile(rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def format_http_date(moment: datetime) -> str:
    """`moment` as an IMF-fixdate, fractions of a second cut off: `Sun, 06 Nov 1994 08:49:37 GMT`.

    Raises ValueError when `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("an HTTP date needs a moment with a time zone")
    at = moment.astimezone(UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )


def parse_http_date(value: str, *, now: datetime) -> datetime | None:
    """The moment in UTC that `value` names in one of the three forms, or None when it is not an HTTP date.

    The names are case-sensitive, as in the grammar; the day of the week is not compared with the date. A leap
    second (:60) is the second after :59. `now` decides the century of a two-digit year, in the obsolete form:
    a date that would be more than 50 years ahead of it is in the past.
    """
    for form in _FORMS:
        if match := form.fullmatch(value):
            break
    else:
        return None
    year = int(match["year"])
    try:
        if len(match["year"]) == 4:
            return _moment(match, year)
        year += now.year - now.year % 100
        moment = _moment(match, year)
        return _moment(match, year - 100) if _over_50_years_ahead(moment, now) else moment
    except (ValueError, OverflowError):
        return None


def _moment(match: re.Match[str], year: int) -> datetime:
    day, hour, minute, second = (int(match[name]) for name in ("day", "hour", "minute", "second"))
    if second > 60:
        raise ValueError("no minute has so many seconds")
    whole_minute = datetime(year, _MONTH_NUMBERS[match["month"]], day, hour, minute, tzinfo=UTC)
    return whole_minute + timedelta(seconds=second)


def _over_50_years_ahead(moment: datetime, now: datetime) -> bool:
    ahead = moment.year - now.year
    # 2000 is a leap year: every day of a year exists in it.
    return ahead > 50 or (ahead == 50 and moment.replace(year=2000) > now.replace(year=2000))
