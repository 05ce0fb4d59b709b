"""Cron expressions of five fields, in UTC, as Cloudflare's cron triggers have them. Pure.

`minute hour day-of-month month day-of-week`. A field is `*`, or a list of values, ranges and steps: `5`, `1-5`,
`50-10` (round the end), `*/15`, `10/20` (from 10 on), `1-30/2`. Months and days of the week have names (`jan`,
`mon`), and the week's days are 1 (Sunday) to 7 (Saturday), not 0 to 6 as elsewhere. A day of the month may also be
`L` (the last), `L-3` (three before it), `15W` (the nearest Monday to Friday within the month), `LW`, `L-3W`; a day
of the week `L` (Saturday), `6L` (the month's last Friday) or `2#1` (its first Monday); these stand alone.

Where both day fields are restricted, either is enough: `0 0 13 * fri` is each 13th and each Friday.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from model.cron import Cron, SpecialDay, SpecialWeekday, next_due_ms

MOST_CHARACTERS: Final = 256

_MONTHS: Final = dict(
    zip(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
        range(1, 13),
        strict=True,
    )
)
_WEEKDAYS: Final = dict(zip(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), range(1, 8), strict=True))
_ITEM = re.compile(r"(?:(\*)|([0-9A-Z]+)(?:-([0-9A-Z]+))?)(?:/([0-9]{1,2}))?")
_SPECIAL_DAY = re.compile(r"(?:L(?:-([0-9]{1,2}))?|([0-9]{1,2})(?=W))(W?)")
_SPECIAL_WEEKDAY = re.compile(r"([0-9A-Z]{1,3}?)(?:(L)|#([0-9]))")


class InvalidCron(ValueError):
    """The message names the field, and says what would be right."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: Mapping[str, int]


_MINUTE = _Field("minute", 0, 59, {})
_HOUR = _Field("hour", 0, 23, {})
_DAY = _Field("day of month", 1, 31, {})
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 1, 7, _WEEKDAYS)


@lru_cache(maxsize=4_096)
def parse_cron(text: str) -> Cron:
    """Raises InvalidCron, also for what never comes (`0 0 31 2 *`). Its `text` has one blank between fields."""
    fields = text.split()
    if len(fields) != 5 or len(text) > MOST_CHARACTERS or not text.isascii():
        raise InvalidCron(
            f"{text[:80]!r}: five fields are right: minute, hour, day of month, month, day of week; as in"
            " `*/15 8-18 * * mon-fri`"
        )
    minute, hour, day, month, weekday = (field.upper() for field in fields)
    cron = Cron(
        " ".join(fields),
        _parse_list(minute, _MINUTE),
        _parse_list(hour, _HOUR),
        _parse_day(day),
        _parse_list(month, _MONTH),
        _parse_weekday(weekday),
    )
    if next_due_ms(cron, 0) is None:
        raise InvalidCron(f"{text[:80]!r}: there is no such day in any year")
    return cron


def _parse_list(text: str, field: _Field) -> int:
    mask = 0
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (match[1] and not match[4] and item != text):
            raise _wrong(field, text)
        star, start_text, end_text, step_text = match.groups()
        step = int(step_text or 1)
        if not 1 <= step <= field.most - field.least:
            raise InvalidCron(
                f"{field.name} {text[:40]!r}: a step of 1 to {field.most - field.least} is right"
            )
        start = field.least if star else _value(start_text, field, text)
        end = field.most if star or step_text else start
        if end_text is not None:
            end = _value(end_text, field, text)
        if end < start:  # round the end: fri-mon
            end += field.most - field.least + 1
        for value in range(start, end + 1, step):
            mask |= 1 << (value if value <= field.most else value - field.most - 1 + field.least)
    return mask


def _value(text: str, field: _Field, whole: str) -> int:
    value = field.names.get(text)
    if value is None:
        value = int(text) if text.isdigit() and len(text) <= 2 else -1
    if not field.least <= value <= field.most:
        raise _wrong(field, whole)
    return value


def _parse_day(text: str) -> int | SpecialDay | None:
    if text == "*":
        return None
    match = _SPECIAL_DAY.fullmatch(text)
    if match is None:
        return _parse_list(text, _DAY)
    before_last, day = int(match[1] or 0), match[2]
    if before_last > 30 or match[1] in ("0", "00"):
        raise InvalidCron(f"day of month {text[:40]!r}: L-1 to L-30 are right")
    return SpecialDay(None if day is None else _value(day, _DAY, text), before_last, bool(match[3]))


def _parse_weekday(text: str) -> int | SpecialWeekday | None:
    if text == "*":
        return None
    if text == "L":
        return 1 << 7
    match = _SPECIAL_WEEKDAY.fullmatch(text)
    if match is None:
        return _parse_list(text, _WEEKDAY)
    nth = None if match[2] else int(match[3])
    if nth is not None and not 1 <= nth <= 5:
        raise InvalidCron(f"day of week {text[:40]!r}: #1 to #5 are right")
    return SpecialWeekday(_value(match[1], _WEEKDAY, text), nth)


def _wrong(field: _Field, text: str) -> InvalidCron:
    names = f" or {next(iter(field.names)).lower()} to {list(field.names)[-1].lower()}" if field.names else ""
    special = {"day of month": ", or one of L, L-3, 15W, LW", "day of week": ", or one of L, 6L, 2#1"}
    return InvalidCron(
        f"{field.name} {text[:40]!r}: `*`, or values {field.least} to {field.most}{names}, ranges (1-5) and steps"
        f" (*/2), with commas between{special.get(field.name, '')}, are right"
    )
