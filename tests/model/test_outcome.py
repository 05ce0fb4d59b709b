"""Every way an event can end has a page, and every error family leads to one."""

from __future__ import annotations

import pytest

from model.errors import (
    LoadShed,
    PlatformError,
    PlatformFault,
    TenantError,
    UpstreamError,
    VisitorError,
)
from model.outcome import PAGES, EventOutcome


@pytest.mark.parametrize("outcome", list(EventOutcome))
def test_every_outcome_has_a_page(outcome: EventOutcome) -> None:
    page = PAGES[outcome]
    assert page.title
    assert 200 <= page.status <= 599


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (EventOutcome.EXCEPTION, 500, 1101),
        (EventOutcome.EXCEEDED_CPU, 503, 1102),
        (EventOutcome.EXCEEDED_MEMORY, 503, 1102),
        (EventOutcome.EXCEEDED_WALL_TIME, 504, 1103),
        (EventOutcome.SCRIPT_NOT_FOUND, 404, 1104),
        (EventOutcome.LOAD_SHED, 503, 1106),
        (EventOutcome.CANCELED, 499, 1105),  # only ever logged
    ],
)
def test_the_statuses_and_codes_that_others_rely_on(outcome: EventOutcome, status: int, code: int) -> None:
    assert (PAGES[outcome].status, PAGES[outcome].code) == (status, code)


def test_outcomes_that_failed_are_never_shown_as_success() -> None:
    assert [outcome for outcome in EventOutcome if PAGES[outcome].status < 400] == [EventOutcome.OK]


@pytest.mark.parametrize(
    ("family", "status"),
    [(VisitorError, 404), (TenantError, 500), (UpstreamError, 500), (PlatformFault, 500), (LoadShed, 503)],
)
def test_an_error_carries_its_page(family: type[PlatformError], status: int) -> None:
    error = family("message")
    assert error.status == status
    assert error.code == PAGES[error.outcome].code
    assert error.message == str(error) == "message"


def test_an_error_may_name_another_outcome_status_or_code() -> None:
    error = TenantError("slow", outcome=EventOutcome.EXCEEDED_CPU)
    assert (error.status, error.code) == (503, 1102)
    assert TenantError("again").outcome is EventOutcome.EXCEPTION  # the family's own is untouched
    assert VisitorError("large", status=413, code=1121).status == 413
    assert (LoadShed("busy").retry_after_s, LoadShed("busy", retry_after_s=9).retry_after_s) == (1, 9)
