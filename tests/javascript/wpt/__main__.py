"""`python -m tests.javascript.wpt [PATTERN…]` runs pages and tells what fails; `--record` runs all of them and writes
counts.json and the table of docs/javascript.md.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import sys
from pathlib import Path
from typing import Final

from tests.javascript.wpt.archive import folder_of_tests
from tests.javascript.wpt.counts import Count, count, dump, table
from tests.javascript.wpt.pages import Page, script_of
from tests.javascript.wpt.plan import HERE, planned, reader, the_plan
from tests.javascript.wpt.running import Run, run

DOCS: Final = Path(__file__).parents[3] / "docs" / "javascript.md"
BEGIN: Final = "<!-- counts of web-platform-tests: written by `python -m tests.javascript.wpt --record` -->\n"
END: Final = "<!-- end of counts -->\n"


def with_table(text: str, counts: str) -> str:
    """The page of documentation with this table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, "the page has no place for the counts"
    return before + BEGIN + counts + END + after


async def _run_all(pages: dict[str, list[Page]], tell: bool) -> dict[str, dict[str, Count]]:
    read = reader(folder_of_tests())
    counts: dict[str, dict[str, Count]] = {}
    for area, those in pages.items():
        for page in those:
            done = await run(script_of(page, read))
            counts.setdefault(area, {})[str(page)] = count(done)
            print(f"{page}: {done.passed} of {len(done.results)} {done.error}".rstrip(), flush=True)
            if tell:
                _tell(done)
    return counts


def _tell(done: Run) -> None:
    for result in done.results:
        if result.status != "PASS":
            print(f"  {result.status} {result.name!a}: {result.message[:200]!a}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args(arguments)
    plan = the_plan()
    pages = planned(plan, folder_of_tests())
    if given.record:
        counts = asyncio.run(_run_all(pages, tell=False))
        unsaid = [
            page
            for held in counts.values()
            for page, one in held.items()
            if one.total == 0 or (one.failed and plan.reason_of(page) is None)
        ]
        (HERE / "counts.json").write_text(dump(counts))
        DOCS.write_text(with_table(DOCS.read_text(), table(counts)))
        if unsaid:
            print("no reason in pages.toml for what fails in:", *unsaid, sep="\n  ")
        return bool(unsaid)
    chosen = {
        area: [page for page in those if any(fnmatch.fnmatchcase(str(page), one) for one in given.patterns)]
        for area, those in pages.items()
    }
    asyncio.run(_run_all(chosen, tell=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
