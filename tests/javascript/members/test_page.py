"""docs/javascript-globals.md says of each member that Cloudflare's types declare whether the engine has it."""

from __future__ import annotations

from tests.javascript.members.survey import PAGE, Api, declared, missing, page


async def test_the_page_is_what_the_engine_says() -> None:
    assert PAGE.read_text() == await page()


async def test_what_is_not_there_is_told_apart_from_what_is() -> None:
    assert await missing([Api("Headers", "Headers.prototype", "get nonsense")]) == [["nonsense"]]


def test_what_differs_is_a_declared_member() -> None:
    for part in declared():
        for api in part.api:
            assert set(api.differs) <= set(api.members.split()), api.name
