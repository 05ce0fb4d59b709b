"""Read the project's Markdown: its links, headings, tables and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_FENCE: Final = re.compile(r"\s*```(\S*)")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE_SPAN: Final = re.compile(r"`[^`\n]+`")
RUNNABLE: Final = "<!-- runnable -->"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `runnable`: the comment that says so stands right before it."""

    language: str
    text: str
    runnable: bool


def all_pages() -> list[Path]:
    """Pages that a reader of the repository opens; not those of tools and caches."""
    folders = ("docs", "sample_workers")
    top = sorted(ROOT.glob("*.md"))
    return top + sorted(path for folder in folders for path in (ROOT / folder).rglob("*.md"))


def read(name: str) -> str:
    """A page below docs/."""
    return (DOCS / name).read_text()


def prose(text: str) -> str:
    """Without fenced blocks."""
    kept, inside = [], False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def links(text: str) -> list[str]:
    return _LINK.findall(_CODE_SPAN.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    found = set()
    for line in prose(text).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


def blocks(text: str) -> Iterator[Block]:
    language: str | None = None
    lines: list[str] = []
    runnable = False
    last = ""
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if fence and language is None:
            language, lines, runnable = fence[1], [], last.strip() == RUNNABLE
        elif fence:
            yield Block(language or "", "\n".join(lines), runnable)
            language = None
        elif language is not None:
            lines.append(line)
        last = line


def section(text: str, heading: str) -> str:
    """What stands under this heading line, up to the next of the same or a higher level."""
    level = heading.split(" ")[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def tables(text: str) -> Iterator[list[list[str]]]:
    """Each table's rows of cells, the header left out; `|` within code spans is not a border."""
    rows: list[list[str]] = []
    for line in [*prose(text).splitlines(), ""]:
        if line.startswith("|"):
            shielded = _CODE_SPAN.sub(lambda span: span[0].replace("|", "\0"), line)
            cells = [cell.strip().replace("\0", "|") for cell in shielded.strip("|").split("|")]
            rows.append(cells)
        elif rows:
            yield rows[2:]
            rows = []


def table(text: str, heading: str) -> list[list[str]]:
    """The first table under a heading."""
    return next(iter(tables(section(text, heading))))


def code(cell: str) -> str:
    """The first code span of a cell."""
    found = _CODE_SPAN.search(cell)
    assert found, f"no code in {cell!r}"
    return found[0].strip("`")


def number(cell: str) -> int:
    """The first number of a cell, with or without thousands separators."""
    found = re.search(r"\d[\d,]*", cell)
    assert found, f"no number in {cell!r}"
    return int(found[0].replace(",", ""))
