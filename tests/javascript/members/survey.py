"""Ask the engine which members there are, and tell it as a page."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from model.capabilities import WorkerEnv
from model.limits import FETCH_LIMITS
from model.scripts import BindingKind
from tests.javascript.harness import Tenant, handler

DECLARED: Final = Path(__file__).with_name("members.toml")
PAGE: Final = Path(__file__).parents[3] / "docs" / "javascript-globals.md"
#: The names by which the rows of members.toml speak of bindings.
_ENV: Final = (
    ("KV", BindingKind.KV_NAMESPACE),
    ("QUEUE", BindingKind.QUEUE),
    ("DB", BindingKind.D1),
    ("SERVICE", BindingKind.SERVICE),
    ("DISPATCHER", BindingKind.DISPATCH_NAMESPACE),
    ("LIMIT", BindingKind.RATE_LIMIT),
    ("POINTS", BindingKind.ANALYTICS_ENGINE),
)
_HEAD: Final = """\
# Globals of JavaScript workers, member by member

What Cloudflare's types declare, and what is here. The engine was asked for each (`python -m tests.javascript.members --record`
writes this page, and a test holds it), so a member that is listed is there; how well whole interfaces keep to their standards is
counted by the [web-platform-tests](javascript.md), and how a global differs as a whole stands [beside its name](javascript.md#globals).
"""


@dataclass(frozen=True, slots=True)
class Api:
    name: str
    #: An expression of JavaScript: where the members are looked for.
    of: str
    members: str
    differs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    api: list[Api]


def declared() -> list[Part]:
    return msgspec.convert(tomllib.loads(DECLARED.read_text())["part"], list[Part])


async def missing(apis: list[Api]) -> list[list[str]]:
    """Of each API, the members that the engine does not have."""
    asked = ",\n".join(f"[{api.of}, {json.dumps(api.members.split())}]" for api in apis)
    body = f"return Response.json([{asked}].map(([of, names]) => names.filter((name) => !(name in of))));"
    extra = [(name, str(kind)) for name, kind in _ENV]
    source = handler(body).encode()
    worker = Tenant([("index.js", "esm", source)], "index.js", WorkerEnv(), FETCH_LIMITS, extra)
    answer = await worker.get()
    assert answer.error is None, (answer.error, answer.lines)
    found: list[list[str]] = json.loads(answer.body)
    return found


async def page() -> str:
    parts = declared()
    found = iter(await missing([api for part in parts for api in part.api]))
    lines = [_HEAD]
    for part in parts:
        lines += [f"## {part.title}\n", "| object | there | missing |", "|---|---|---|"]
        lines += [_row(api, next(found)) for api in part.api]
        lines.append("")
    return "\n".join(lines)


def _row(api: Api, absent: list[str]) -> str:
    there = [_told(name, api.differs.get(name)) for name in api.members.split() if name not in absent]
    gone = ", ".join(f"`{name}`" for name in absent) or "–"
    return f"| {api.name} | {', '.join(there) or '–'} | {gone} |"


def _told(name: str, differs: str | None) -> str:
    return f"`{name}` ({differs})" if differs else f"`{name}`"
