"""Every link, file path and module name in the project's pages leads somewhere, and every page is reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, all_pages, anchors, links, prose

PAGES = all_pages()
PACKAGES = (
    *("model", "processes", "edge", "dispatch", "runtime", "bindings", "outbound", "control", "storage"),
    *("observability", "cli", "demo", "benchmarks", "sample_workers", "tests", "docs", "requirements"),
)
_PATH = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]*)`")
_MODULE = re.compile(rf"`((?:{'|'.join(PACKAGES[:11])})(?:\.[A-Za-z_]\w*)+)`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text()
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target.read_text()), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_in_code_is_there(page: Path) -> None:
    for path in _PATH.findall(prose(page.read_text())):
        assert (ROOT / path).exists() or (page.parent / path).exists(), f"there is no {path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_module_in_code_is_there(page: Path) -> None:
    for dotted in _MODULE.findall(prose(page.read_text())):
        if dotted.endswith(".db"):
            continue  # a file of the data folder
        module, rest = _split(dotted)
        assert len(rest) <= 1, f"there is no module {dotted}"
        if rest:
            assert re.search(rf"\b{rest[0]}\b", _source(module)), f"{module} has no {rest[0]}"


def _split(dotted: str) -> tuple[Path, list[str]]:
    """The longest part that is a module or a package, and the names after it."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file() or path.is_dir():
            return path, parts[end:]
    return ROOT, parts


def _source(module: Path) -> str:
    file = module.with_suffix(".py")
    return file.read_text() if file.is_file() else "".join(f.read_text() for f in module.glob("*.py"))


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in links(page.read_text()):
            if not re.match(r"[a-z]+:", link):
                waiting.append((page.parent / link.partition("#")[0]).resolve())
    assert sorted(set(DOCS.rglob("*.md")) - seen) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "sdk"], ids=name_of)
def test_no_page_speaks_of_the_machine_it_was_written_on(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|root|home|Users)/", page.read_text())
