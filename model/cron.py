"""When a cron expression is due: what `model.cron_syntax` read, and the search forwards and backwards. UTC; pure."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

MINUTE_MS: Final = 60_000

_DAY_MINUTES: Final = 24 * 60
_EPOCH: Final = date(1970, 1, 1).toordinal()
#: The rarest there is, a fifth Monday in February, comes every 28 years, and across 2100 after 40.
_MOST_MONTHS: Final = 41 * 12
#: Where a search gives up: before what can be stored, and at the end of what `datetime` can say.
_YEARS: Final = range(1970, 9999)


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """One day of a month, counted from its end, or moved off the weekend, or both."""

    #: Of the month; None: its last, less `before_last`.
    day: int | None
    before_last: int = 0
    nearest_weekday: bool = False


@dataclass(frozen=True, slots=True)
class SpecialWeekday:
    """One weekday (1 Sunday to 7) of a month: its `nth`, or its last (None)."""

    weekday: int
    nth: int | None


@dataclass(frozen=True, slots=True)
class Cron:
    """Bit n of a mask stands for the value n. For days, None is `*`."""

    text: str
    minutes: int
    hours: int
    days: int | SpecialDay | None
    months: int
    weekdays: int | SpecialWeekday | None


def next_due_ms(cron: Cron, after_ms: int) -> int | None:
    """The first due time after `after_ms` (UNIX ms); None: there is none."""
    first = after_ms // MINUTE_MS + 1
    day, minute = divmod(first, _DAY_MINUTES)
    for due_day in _days_from(cron, day):
        found = _next_minute(cron, minute if due_day == day else 0)
        if found is not None:
            return (due_day * _DAY_MINUTES + found) * MINUTE_MS
    return None


def last_due_ms(cron: Cron, until_ms: int) -> int | None:
    """The last due time that is not after `until_ms`; None: there is none since 1970."""
    day, minute = divmod(until_ms // MINUTE_MS, _DAY_MINUTES)
    for due_day in _days_back_from(cron, day):
        found = _last_minute(cron, minute if due_day == day else _DAY_MINUTES - 1)
        if found is not None:
            return (due_day * _DAY_MINUTES + found) * MINUTE_MS
    return None


def count_due(cron: Cron, after_ms: int, before_ms: int) -> int:
    """How many due times lie between the two, neither included, within 41 years. Costs less than 1 µs a day."""
    first, end = after_ms // MINUTE_MS + 1, -(-before_ms // MINUTE_MS)
    if first >= end:
        return 0
    first_day, first_minute = divmod(first, _DAY_MINUTES)
    last_day, last_minute = divmod(end - 1, _DAY_MINUTES)
    a_day = cron.minutes.bit_count() * cron.hours.bit_count()
    count = 0
    for day in _days_from(cron, first_day):
        if day > last_day:
            break
        if first_day < day < last_day:
            count += a_day
        else:
            count += _minutes_between(
                cron,
                first_minute if day == first_day else 0,
                last_minute if day == last_day else _DAY_MINUTES - 1,
            )
    return count


# -- days: numbers since 1970-01-01 --------------------------------------------------------------------


def _days_from(cron: Cron, day: int) -> Iterator[int]:
    """The days that match, from `day` on."""
    start = date.fromordinal(_EPOCH + max(day, 0))
    year, month = start.year, start.month
    mask = _days_of_month(cron, year, month) >> start.day << start.day
    for _ in range(_MOST_MONTHS):
        first = date(year, month, 1).toordinal() - _EPOCH
        while mask:
            lowest = mask & -mask
            yield first + lowest.bit_length() - 2
            mask ^= lowest
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        if year not in _YEARS:
            return
        mask = _days_of_month(cron, year, month)


def _days_back_from(cron: Cron, day: int) -> Iterator[int]:
    """The days that match, from `day` backwards."""
    if day < 0:
        return
    start = date.fromordinal(_EPOCH + day)
    year, month = start.year, start.month
    mask = _days_of_month(cron, year, month) & ((1 << start.day + 1) - 1)
    for _ in range(_MOST_MONTHS):
        first = date(year, month, 1).toordinal() - _EPOCH
        while mask:
            highest = mask.bit_length() - 1
            yield first + highest - 1
            mask ^= 1 << highest
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        if year not in _YEARS:
            return
        mask = _days_of_month(cron, year, month)


def _days_of_month(cron: Cron, year: int, month: int) -> int:
    """Bit n: the day n of this month matches."""
    if not cron.months >> month & 1:
        return 0
    # Of the calendar's, 0 is Monday; here 1 is Sunday.
    first_weekday, last = calendar.monthrange(year, month)
    first_weekday = (first_weekday + 1) % 7 + 1
    every = (1 << last + 1) - 2
    match cron.days:
        case None:
            days = 0
        case SpecialDay() as special:
            days = _special_day(special, first_weekday, last)
        case mask:
            days = mask & every
    match cron.weekdays:
        case None:
            return every if cron.days is None else days
        case SpecialWeekday() as wanted:
            first = 1 + (wanted.weekday - first_weekday) % 7
            day = first + 7 * ((last - first) // 7 if wanted.nth is None else wanted.nth - 1)
            return days | (1 << day if day <= last else 0)
        case weekdays:
            for day in range(1, last + 1):
                if weekdays >> ((first_weekday - 1 + day - 1) % 7 + 1) & 1:
                    days |= 1 << day
            return days


def _special_day(special: SpecialDay, first_weekday: int, last: int) -> int:
    day = last - special.before_last if special.day is None else special.day
    if not 1 <= day <= last:
        return 0
    if special.nearest_weekday:
        weekday = (first_weekday - 1 + day - 1) % 7 + 1
        if weekday == 7:  # Saturday: Friday, or Monday where that would be another month
            day += -1 if day > 1 else 2
        elif weekday == 1:  # Sunday
            day += 1 if day < last else -2
    return 1 << day


# -- minutes of a day -----------------------------------------------------------------------------------


def _next_minute(cron: Cron, minute: int) -> int | None:
    hour, minute = divmod(minute, 60)
    if cron.hours >> hour & 1 and (left := cron.minutes >> minute):
        return hour * 60 + minute + (left & -left).bit_length() - 1
    later = cron.hours >> hour + 1
    if not later:
        return None
    hour += (later & -later).bit_length()
    return hour * 60 + (cron.minutes & -cron.minutes).bit_length() - 1


def _last_minute(cron: Cron, minute: int) -> int | None:
    hour, minute = divmod(minute, 60)
    if cron.hours >> hour & 1 and (left := cron.minutes & (1 << minute + 1) - 1):
        return hour * 60 + left.bit_length() - 1
    earlier = cron.hours & (1 << hour) - 1
    if not earlier:
        return None
    return (earlier.bit_length() - 1) * 60 + cron.minutes.bit_length() - 1


def _minutes_between(cron: Cron, first: int, last: int) -> int:
    """How many of a day are due, both ends included."""
    count = 0
    for hour in range(first // 60, last // 60 + 1):
        if cron.hours >> hour & 1:
            minutes = cron.minutes
            if hour == first // 60:
                minutes = minutes >> first % 60 << first % 60
            if hour == last // 60:
                minutes &= (1 << last % 60 + 1) - 1
            count += minutes.bit_count()
    return count
