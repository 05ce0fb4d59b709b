"""A page of web-platform-tests → one script for the engine: the harness, what the page names, and the page itself.

Only values here: files come in through `read`, which gives None for what there is not.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Reader = Callable[[str], str | None]

_META: Final = re.compile(r"^// META: *([a-z]+)=(.*?) *$", re.M)
_QUOTED: Final = re.compile(r"""(["'`])([\w./-]{1,80})\1""")
_HARNESS: Final = "resources/testharness.js"
#: The tests' server has them by other names.
_ALIASES: Final = {"resources/WebIDLParser.js": "resources/webidl2/lib/webidl2.js"}
_GUEST: Final = Path(__file__).parent / "guest"
#: What a script needs of a browser, in words of ours.
_HELPED: Final = {"FileAPI/support/Blob.js": "file_reader.js"}


@dataclass(frozen=True, slots=True)
class Page:
    """A file of tests, from the root of the tests, and one of its variants: a query string, or nothing."""

    path: str
    variant: str = ""

    def __str__(self) -> str:
        return self.path + self.variant


def pages_of(path: str, read: Reader) -> list[Page]:
    """The page, or one for each variant that it names."""
    variants = [value for name, value in _META.findall(_need(path, read)) if name == "variant"]
    return [Page(path, variant) for variant in variants or [""]]


def script_of(page: Page, read: Reader) -> str:
    """In service-worker syntax; its answer is JSON: `{status, message, tests: [[name, status, message], …]}`."""
    text = _need(page.path, read)
    folder = posixpath.dirname(page.path)
    scripts = [_resolve(folder, value) for name, value in _META.findall(text) if name == "script"]
    parts = [_need(path, read) for path in scripts]
    given = {
        "url": f"https://web-platform.test/{page}",
        "search": page.variant,
        "files": _files_named(folder, [text, *parts], read),
    }
    return "\n".join(
        [
            'addEventListener("fetch", (event) => event.respondWith(new Promise((answer) => page.call(globalThis, answer))));',
            "function page(__answer) {",
            f"const GIVEN = {json.dumps(given)};",
            (_GUEST / "before.js").read_text(),
            *((_GUEST / name).read_text() for script, name in _HELPED.items() if script in scripts),
            _need(_HARNESS, read),
            (_GUEST / "after.js").read_text(),
            *parts,
            text,
            "}",
        ]
    )


def _files_named(folder: str, scripts: list[str], read: Reader) -> dict[str, str]:
    """Data that the scripts fetch, by its path: what they name between quotes, and interfaces by their short names."""
    found = {}
    for script in scripts:
        for _, name in _QUOTED.findall(script):
            path = _resolve(folder, name) if name.endswith(".json") else f"interfaces/{name}.idl"
            if path not in found and (text := read(path)) is not None:
                found[path] = text
    return found


def _resolve(folder: str, name: str) -> str:
    path = posixpath.normpath(name[1:] if name.startswith("/") else posixpath.join(folder, name))
    return _ALIASES.get(path, path)


def _need(path: str, read: Reader) -> str:
    text = read(path)
    if text is None:
        raise LookupError(f"no {path} among the tests: was the list changed without the archive?")
    return text
