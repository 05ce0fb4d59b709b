"""A page says what happened in the platform's words, to machines and people, and nothing of a tenant's."""

from __future__ import annotations

import json

import pytest

from dispatch.error_pages import error_response, wants_html
from model.errors import LoadShed, PlatformFault, TenantError, UpstreamError, VisitorError
from model.outcome import PAGES, EventOutcome

RAY = "0123456789abcdef"


@pytest.mark.parametrize("outcome", list(EventOutcome))
@pytest.mark.parametrize("accept", [b"text/html", b"application/json"])
def test_every_outcome_has_a_page_with_its_status_code_title_and_ray(
    outcome: EventOutcome, accept: bytes
) -> None:
    status, headers, body = error_response(outcome, RAY, accept)
    page = PAGES[outcome]
    assert status == page.status
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert dict(headers)[b"content-type"].startswith(accept)
    text = body.decode()
    for shown in (str(page.code), page.title, RAY):
        assert shown in text
    if accept == b"application/json":
        assert json.loads(body)["error"] == {
            "code": page.code,
            "title": page.title,
            "status": page.status,
            "ray_id": RAY,
        }


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        (b"", False),
        (b"*/*", False),  # curl
        (b"application/json", False),
        (b"text/html", True),
        (b"TEXT/HTML", True),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),  # browsers
        (b"text/html;q=0", False),
        (b"text/html;q=0.5, application/json", False),
        (b"text/html; q=0.5, application/json;q=0.4", True),
        (b"text/html;q=nonsense", False),
        (b"text/html;q=nan", False),
        (b"image/avif,*/*", False),
        (b"\xff;;;,,,=", False),
        (b"x" * 2_000 + b",text/html", False),
    ],
)
def test_html_for_who_names_it(accept: bytes, is_html: bool) -> None:
    assert wants_html(accept) is is_html


@pytest.mark.parametrize("family", [TenantError, UpstreamError, PlatformFault])
@pytest.mark.parametrize("accept", [b"text/html", b""])
def test_a_tenants_and_the_operators_words_are_not_shown(
    family: type[TenantError | UpstreamError | PlatformFault], accept: bytes
) -> None:
    _, _, body = error_response(family("the worker's words", detail="/srv/data"), RAY, accept)
    assert b"words" not in body
    assert b"/srv" not in body


def test_a_visitors_error_is_told_and_escaped() -> None:
    error = VisitorError('too <b>large</b> & "odd"', detail="secret", status=413, code=1121)
    status, _, page = error_response(error, RAY, b"text/html")
    assert status == 413
    assert b"too &lt;b&gt;large&lt;/b&gt; &amp; &quot;odd&quot;" in page
    assert b"secret" not in page
    assert b"There is no worker here" not in page  # not the title of another code
    told = json.loads(error_response(error, RAY)[2])["error"]
    assert told["message"] == 'too <b>large</b> & "odd"'
    assert (told["status"], told["code"]) == (413, 1121)


def test_a_ray_id_is_escaped_too() -> None:
    assert b"<script>" not in error_response(EventOutcome.EXCEPTION, "<script>", b"text/html")[2]


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (LoadShed("busy", retry_after_s=5), b"5"),
        (EventOutcome.LOAD_SHED, b"1"),
        (EventOutcome.EXCEEDED_CPU, None),
    ],
)
def test_retry_after(error: LoadShed | EventOutcome, retry_after: bytes | None) -> None:
    assert dict(error_response(error, RAY)[1]).get(b"retry-after") == retry_after
