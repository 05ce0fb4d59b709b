"""JUnit's XML, the report that CI systems read. Pure. Source: the schema of Jenkins' junit plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from cli.output import printable


@dataclass(frozen=True, slots=True)
class TestCase:
    """`problem` is "" when it passed."""

    #: pytest would take the class for a test's.
    __test__ = False

    name: str
    file: str
    line: int
    problem: str


def junit_document(suite: str, cases: Sequence[TestCase]) -> str:
    """One suite. Control characters, which XML can't hold, are written as escapes."""
    failures = sum(1 for case in cases if case.problem)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name={_attribute(suite)} tests="{len(cases)}" failures="{failures}" errors="0">',
    ]
    for case in cases:
        head = f"  <testcase classname={_attribute(suite)} name={_attribute(case.name)}"
        place = f' file={_attribute(case.file)} line="{case.line}"'
        if case.problem:
            lines += [
                f"{head}{place}>",
                f"    <failure message={_attribute(case.problem)}/>",
                "  </testcase>",
            ]
        else:
            lines.append(f"{head}{place}/>")
    lines.append("</testsuite>")
    return "\n".join(lines) + "\n"


def _attribute(text: str) -> str:
    # Lone surrogates and the two noncharacters are no XML characters either.
    safe = printable(text).encode("utf-8", "backslashreplace").decode()
    return quoteattr(safe.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff"))
