"""Web-platform-tests pass in the engine as recorded in counts.json: fewer is a fault, more is to be recorded.

What the archive lacks (fetch, URLPattern, compression) is in behaviours/, in words of ours. The reasons for what fails
are in pages.toml.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.javascript.wpt import __main__ as command
from tests.javascript.wpt.archive import folder_of_tests, source_entry
from tests.javascript.wpt.counts import Count, count, difference, parse, table
from tests.javascript.wpt.pages import Page, pages_of, script_of
from tests.javascript.wpt.plan import HERE, planned, reader, the_plan
from tests.javascript.wpt.running import Result, Run, run

RECORDED: Final = parse((HERE / "counts.json").read_text())
_PAGES: Final = [pytest.param(area, page, id=page) for area, held in RECORDED.items() for page in held]


@pytest.mark.parametrize(("area", "page"), _PAGES)
async def test_a_page_of_web_platform_tests_passes_as_recorded(area: str, page: str) -> None:
    path, mark, variant = page.partition("?")
    done = await run(script_of(Page(path, mark + variant), reader(folder_of_tests())))
    assert difference(RECORDED[area][page], done) is None


def test_every_page_that_is_planned_is_recorded_and_no_other() -> None:
    pages = planned(the_plan(), folder_of_tests())
    assert {area: {str(page) for page in those} for area, those in pages.items()} == {
        area: set(held) for area, held in RECORDED.items()
    }


def test_every_page_that_fails_anything_has_its_reason() -> None:
    plan = the_plan()
    failing = {page for held in RECORDED.values() for page, one in held.items() if one.failed}
    assert {page for page in failing if plan.reason_of(page) is None} == set()
    # And none is for what passes meanwhile.
    needless = [reason.why for reason in plan.fails if not any(reason.covers(page) for page in failing)]
    assert needless == []


def test_the_documentation_has_the_counts_that_are_recorded() -> None:
    text = command.DOCS.read_text()
    assert text == command.with_table(text, table(RECORDED))


# -- what the counts are held with ------------------------------------------------------------------------------------


def _run(*statuses: str, error: str = "") -> Run:
    return Run(tuple(Result(f"test {at}", status, "why") for at, status in enumerate(statuses)), error)


@pytest.mark.parametrize(
    ("recorded", "now", "said"),
    [
        (_run("PASS", "FAIL"), _run("PASS", "FAIL"), None),
        (_run("PASS", "PASS"), _run("PASS", "FAIL"), "test 1: FAIL why"),
        (_run("PASS", "FAIL"), _run("FAIL", "PASS"), "test 0: FAIL why"),  # as many, but others
        (_run("PASS", "PASS"), _run("PASS"), "1 of 1 pass, 2 of 2 are recorded"),  # a test is gone
        (_run("PASS", "FAIL"), _run("PASS", "PASS"), "better; record it"),
        (_run("PASS"), _run(error="it threw"), "(it threw)"),
        (_run(*["FAIL"] * 30), _run(*["FAIL"] * 30), None),  # too many to name
        (_run(*["FAIL"] * 30), _run(*["FAIL"] * 29, "PASS"), "better; record it"),
        (_run(*["FAIL"] * 29, "PASS"), _run(*["FAIL"] * 30), "0 of 30 pass, 1 of 30 are recorded"),
    ],
)
def test_a_run_that_differs_from_the_record_is_told(recorded: Run, now: Run, said: str | None) -> None:
    told = difference(count(recorded), now)
    assert told is None if said is None else told is not None and said in told


async def test_what_a_page_asserts_is_told_by_name() -> None:
    files = {
        "resources/testharness.js": (folder_of_tests() / "resources" / "testharness.js").read_text(),
        "a/common.js": "const answer = 42;",
        "a/data.json": "[7]",
        "a/page.any.js": (
            "// META: script=common.js\n// META: variant=?first\n"
            "test(() => assert_equals(answer, 42), 'right');\n"
            "test(() => assert_equals(answer, 41), 'wrong');\n"
            "promise_test(async () => assert_equals((await (await fetch('data.json')).json())[0], 7), 'data');\n"
            "test(() => assert_equals(location.search, '?first'), 'variant');\n"
        ),
    }
    (page,) = pages_of("a/page.any.js", files.get)
    done = await run(script_of(page, files.get))
    assert {one.name: one.status for one in done.results} == {
        "right": "PASS",
        "wrong": "FAIL",
        "data": "PASS",
        "variant": "PASS",
    }
    assert "expected 41 but got 42" in next(one.message for one in done.results if one.name == "wrong")


@pytest.mark.parametrize("script", ["throw new Error('at its top')", "(", "setup({ explicit_done: true });"])
async def test_a_page_that_does_not_come_to_its_end_passes_nothing(script: str) -> None:
    harness = (folder_of_tests() / "resources" / "testharness.js").read_text()
    files = {"resources/testharness.js": harness, "a.any.js": f"setup({{ single_test: false }});\n{script}"}
    done = await run(script_of(Page("a.any.js"), files.get))
    assert count(done) == Count(0, 0)
    assert done.error


_DEB822 = """\
Types: deb
URIs: mirror://a/security
Suites: old-security
Components: main

Types: deb
URIs: mirror://a/debian
Suites: old old-updates
Components: main contrib
Signed-By: /keys/debian.gpg
"""


@pytest.mark.parametrize(
    ("texts", "uri", "key"),
    [
        ([_DEB822], "mirror://a/debian", "/keys/debian.gpg"),
        (["# none\ndeb mirror://b/debian old main"], "mirror://b/debian", None),
        (["deb [arch=amd64 signed-by=/k.gpg] mirror://b/debian/ old main"], "mirror://b/debian/", "/k.gpg"),
    ],
)
def test_debian_s_sources_come_from_where_its_packages_come_from(
    texts: list[str], uri: str, key: str | None
) -> None:
    entry = source_entry(texts, "new")
    assert entry is not None
    fields = dict(line.split(": ") for line in entry.splitlines())
    assert (fields["Types"], fields["URIs"], fields["Suites"]) == ("deb-src", uri, "new")
    assert fields.get("Signed-By") == key


@pytest.mark.parametrize(
    "text", ["", "deb mirror://b/other stable main", "deb-src mirror://b/debian old main"]
)
def test_a_machine_without_debian_s_packages_has_no_sources(text: str) -> None:
    assert source_entry([text], "new") is None
