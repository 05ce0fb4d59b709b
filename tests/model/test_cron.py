"""Cron expressions mean what Cloudflare's cron triggers mean by them, and due times are found, forwards and back."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from model.cron import count_due, last_due_ms, next_due_ms
from model.cron_syntax import InvalidCron, parse_cron


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def shown(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("* * * * *", "2026-11-26 06:44:00", ["2026-11-26 06:45", "2026-11-26 06:46"]),  # strictly after
        ("* * * * *", "2026-11-26 06:43:59.999", ["2026-11-26 06:44"]),
        ("*/30 * * * *", "2026-12-31 23:30", ["2027-01-01 00:00", "2027-01-01 00:30"]),
        ("*/59 * * * *", "2026-01-01 00:00", ["2026-01-01 00:59", "2026-01-01 01:00"]),  # the widest step
        (
            "10/20 * * * *",
            "2026-01-01 00:00",
            ["2026-01-01 00:10", "2026-01-01 00:30", "2026-01-01 00:50", "2026-01-01 01:10"],
        ),
        (
            "58-1 * * * *",
            "2026-01-01 00:01",
            [
                "2026-01-01 00:58",
                "2026-01-01 00:59",
                "2026-01-01 01:00",
                "2026-01-01 01:01",
                "2026-01-01 01:58",
            ],
        ),
        (
            "50-10/10 * * * *",
            "2026-01-01 00:00",
            ["2026-01-01 00:10", "2026-01-01 00:50", "2026-01-01 01:00"],
        ),  # a step round the end
        ("0 0 * * *", "2026-02-28 00:00", ["2026-03-01 00:00"]),
        ("0 23,0 * * *", "2026-01-01 00:00", ["2026-01-01 23:00", "2026-01-02 00:00"]),
        ("59 23 31 12 *", "2026-01-01 00:00", ["2026-12-31 23:59", "2027-12-31 23:59"]),
        ("0 15 1 * *", "2026-01-01 15:00", ["2026-02-01 15:00"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "2096-02-29 00:00", ["2104-02-29 00:00"]),  # 2100 is no leap year
        ("0 0 31 * *", "2026-03-31 00:00", ["2026-05-31 00:00"]),
        ("0 0 1 jan *", "2026-01-01 00:00", ["2027-01-01 00:00"]),
        (
            "0 0 1 Nov-Jan *",
            "2026-01-15 00:00",
            ["2026-11-01 00:00", "2026-12-01 00:00", "2027-01-01 00:00", "2027-11-01 00:00"],
        ),
        # Days of the week: 1 is Sunday. 2026-11-22 is one.
        ("0 17 * * 1", "2026-11-20 00:00", ["2026-11-22 17:00", "2026-11-29 17:00"]),
        ("0 17 * * sun", "2026-11-20 00:00", ["2026-11-22 17:00", "2026-11-29 17:00"]),
        ("0 17 * * 7", "2026-11-20 00:00", ["2026-11-21 17:00"]),
        ("10 7 * * mon-fri", "2026-11-20 07:10", ["2026-11-23 07:10", "2026-11-24 07:10"]),
        ("10 7 * * 2-6", "2026-11-20 07:10", ["2026-11-23 07:10"]),
        (
            "0 0 * * fri-sun",
            "2026-11-22 00:00",
            ["2026-11-27 00:00", "2026-11-28 00:00", "2026-11-29 00:00", "2026-12-04 00:00"],
        ),
        (
            "0 0 * * */2",
            "2026-11-22 00:00",
            ["2026-11-24 00:00", "2026-11-26 00:00", "2026-11-28 00:00", "2026-11-29 00:00"],
        ),
        # Either of two restricted day fields.
        (
            "0 0 13 * fri",
            "2026-11-01 00:00",
            [
                "2026-11-06 00:00",
                "2026-11-13 00:00",
                "2026-11-20 00:00",
                "2026-11-27 00:00",
                "2026-12-04 00:00",
                "2026-12-11 00:00",
                "2026-12-13 00:00",
            ],
        ),
        ("0 0 31 2 mon", "2026-01-01 00:00", ["2026-02-02 00:00"]),
        # L
        (
            "0 0 L * *",
            "2026-01-15 00:00",
            ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00", "2026-04-30 00:00"],
        ),
        ("0 0 L 2 *", "2027-03-01 00:00", ["2028-02-29 00:00", "2029-02-28 00:00"]),
        ("0 0 L-1 * *", "2026-02-01 00:00", ["2026-02-27 00:00", "2026-03-30 00:00"]),
        (
            "0 0 L-30 * *",
            "2026-01-01 00:00",
            ["2026-03-01 00:00", "2026-05-01 00:00"],
        ),  # in months of 31 days alone
        ("0 18 * * 6L", "2026-11-01 00:00", ["2026-11-27 18:00", "2026-12-25 18:00"]),
        ("0 18 * * friL", "2027-01-01 00:00", ["2027-01-29 18:00", "2027-02-26 18:00"]),
        ("0 18 * * 1L", "2026-05-01 00:00", ["2026-05-31 18:00"]),  # on the month's last day
        ("0 0 * * L", "2026-11-22 00:00", ["2026-11-28 00:00"]),
        # W
        (
            "59 23 LW * *",
            "2026-01-01 00:00",
            [
                "2026-01-30 23:59",
                "2026-02-27 23:59",
                "2026-03-31 23:59",
                "2026-04-30 23:59",
                "2026-05-29 23:59",
            ],
        ),
        (
            "0 0 15W * *",
            "2026-02-01 00:00",
            ["2026-02-16 00:00", "2026-03-16 00:00", "2026-04-15 00:00"],
        ),  # Sunday: Monday
        ("0 0 15W 8 *", "2026-01-01 00:00", ["2026-08-14 00:00"]),  # Saturday: Friday
        ("0 0 1W 8 *", "2026-01-01 00:00", ["2026-08-03 00:00"]),  # Saturday the 1st: Monday, not July
        ("0 0 31W 5 *", "2026-01-01 00:00", ["2026-05-29 00:00"]),  # Sunday the 31st: Friday, not June
        ("0 0 31W 5,6,7 *", "2026-05-29 00:00", ["2026-07-31 00:00"]),  # June has none
        (
            "0 0 L-3W * *",
            "2026-02-01 00:00",
            ["2026-02-25 00:00", "2026-03-27 00:00"],
        ),  # Saturday the 28th of March
        ("0 0 L-30W 8 *", "2026-01-01 00:00", ["2026-08-03 00:00"]),
        # #
        ("0 0 * * 2#1", "2026-11-01 00:00", ["2026-11-02 00:00", "2026-12-07 00:00"]),
        ("0 0 * * sun#1", "2026-10-31 00:00", ["2026-11-01 00:00"]),  # on the 1st
        (
            "0 0 * * mon#5",
            "2026-11-01 00:00",
            ["2026-11-30 00:00", "2027-03-29 00:00"],
        ),  # months without are passed over
        ("0 0 * 2 mon#5", "2016-02-29 00:00", ["2044-02-29 00:00"]),
        ("0 0 * 2 mon#5", "2072-02-29 00:00", ["2112-02-29 00:00"]),  # the longest wait there is
    ],
)
def test_due_times(expression: str, after: str, due: list[str]) -> None:
    cron = parse_cron(expression)
    at: int | None = ms(after)
    found = []
    for _ in due:
        assert at is not None
        at = next_due_ms(cron, at)
        found.append(shown(at))
        assert last_due_ms(cron, at or 0) == at
    assert found == due


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),  # no seconds, no years
        ("@daily", "five fields"),
        ("* * * * *" + " " * 250, "five fields"),
        ("60 * * * *", "minute '60'"),
        ("-1 * * * *", "minute"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * 32 * *", "day of month '32'"),
        ("* * * 0 *", "month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 0", "day of week '0'"),  # Sunday is 1
        ("* * * * 8", "day of week '8'"),
        ("* * * * mo", "day of week 'MO'"),
        ("* * * june *", "month 'JUNE'"),
        ("jan * * * *", "minute 'JAN'"),
        ("*/0 * * * *", "a step of 1 to 59"),
        ("*/60 * * * *", "a step of 1 to 59"),
        ("* */24 * * *", "a step of 1 to 23"),
        ("* * * */12 *", "a step of 1 to 11"),
        ("* * * * */7", "a step of 1 to 6"),
        ("*,5 * * * *", "minute '*,5'"),
        ("5, * * * *", "minute '5,'"),
        ("1-2-3 * * * *", "minute"),
        ("*-5 * * * *", "minute"),
        ("5/ * * * *", "minute"),
        ("\u0665 * * * *", "five fields"),  # a digit, elsewhere
        ("L * * * *", "minute 'L'"),
        ("* * L,1 * *", "day of month 'L,1'"),
        ("* * L-0 * *", "L-1 to L-30"),
        ("* * L-31 * *", "L-1 to L-30"),
        ("* * 0W * *", "day of month '0W'"),
        ("* * 32W * *", "day of month '32W'"),
        ("* * W * *", "day of month 'W'"),
        ("* * ? * *", "day of month '?'"),
        ("* * * * 1#0", "#1 to #5"),
        ("* * * * 1#6", "#1 to #5"),
        ("* * * * 8#1", "day of week"),
        ("* * * * 0L", "day of week"),
        ("* * * * 2#1,3#1", "day of week"),
        ("0 0 30 2 *", "no such day"),
        ("0 0 31 4,6,9,11 *", "no such day"),
        ("0 0 L-29 2 *", "no such day"),
    ],
)
def test_what_is_no_cron_expression_is_said_by_field(expression: str, why: str) -> None:
    with pytest.raises(InvalidCron, match=r"(?s).*") as refused:
        parse_cron(expression)
    assert why in str(refused.value)


def test_blanks_between_fields_are_one_in_its_text() -> None:
    assert parse_cron(" */5\t*  * * MON ").text == "*/5 * * * MON"


def test_nothing_was_due_before_1970() -> None:
    assert last_due_ms(parse_cron("0 0 1 2 *"), ms("1970-01-15 00:00")) is None
    assert last_due_ms(parse_cron("* * * * *"), -1) is None


@pytest.mark.parametrize(
    ("expression", "after", "before", "count"),
    [
        ("* * * * *", "2026-01-01 00:00", "2026-01-01 00:00", 0),
        ("* * * * *", "2026-01-01 00:00", "2026-01-01 00:01", 0),  # neither end is counted
        ("* * * * *", "2026-01-01 00:00", "2026-01-01 00:02", 1),
        ("* * * * *", "2026-01-01 00:00", "2026-01-01 00:01:00.001", 1),
        ("* * * * *", "2025-12-31 23:59:59.999", "2026-01-02 00:00", 1440),
        ("*/7 3,4 * * *", "2026-01-01 03:00", "2026-01-03 04:56", 8 + 9 + 18 + 9 + 8),
        ("0 0 29 2 *", "2000-01-01 00:00", "2036-01-01 00:00", 9),
        ("* * * * *", "2026-01-01 00:00", "2066-01-01 00:00", 14_610 * 1440 - 1),  # forty years
    ],
)
def test_missed_due_times_are_counted(expression: str, after: str, before: str, count: int) -> None:
    assert count_due(parse_cron(expression), ms(after), ms(before)) == count


_VALUES = (range(60), range(24), range(1, 32), range(1, 13), range(1, 8))


def _slow_match(fields: list[set[int] | None], at: datetime) -> bool:
    """What the rule says, a minute at a time."""
    minute, hour, day, month, weekday = fields
    if (
        (minute and at.minute not in minute)
        or (hour and at.hour not in hour)
        or (month and at.month not in month)
    ):
        return False
    days = [at.day in day] if day else []
    if weekday:
        days.append(at.isoweekday() % 7 + 1 in weekday)
    return any(days) if days else True


def test_search_agrees_with_looking_at_each_minute() -> None:
    chance = random.Random(20261126)
    for _ in range(150):
        fields: list[set[int] | None] = [
            None if chance.random() < 0.3 else set(chance.sample(values, chance.randint(1, 4)))
            for values in _VALUES
        ]
        if fields[4] is None and fields[2] is not None and fields[3] is not None:
            fields[2].add(1)  # else there may be no such day
        text = " ".join("*" if f is None else ",".join(map(str, f)) for f in fields)
        cron = parse_cron(text)
        start = datetime(2027, 12, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(60 * 24 * 90))
        minutes = [start + timedelta(minutes=n) for n in range(60 * 24 * 3)]
        expected = [int(at.timestamp() * 1000) for at in minutes if _slow_match(fields, at)]
        end = int(minutes[-1].timestamp() * 1000)
        found = []
        at = next_due_ms(cron, int(start.timestamp() * 1000) - 1)
        while at is not None and at <= end:
            found.append(at)
            at = next_due_ms(cron, at)
        assert found == expected, text
        assert count_due(cron, int(start.timestamp() * 1000) - 1, end + 1) == len(expected), text
        back = last_due_ms(cron, end)
        assert back == expected[-1] if expected else back is None or back < start.timestamp() * 1000, text
