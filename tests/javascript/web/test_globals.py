"""docs/javascript.md lists what is in the global scope beyond the language: all of it, and what of it works."""

from __future__ import annotations

import re
from pathlib import Path

from tests.javascript.web.told import told

PAGE = Path(__file__).parents[3] / "docs" / "javascript.md"
#: ECMAScript's own, and the error that the engine has for itself.
LANGUAGE = set(
    re.findall(
        r"\w+",
        "AggregateError Array ArrayBuffer AsyncDisposableStack BigInt BigInt64Array BigUint64Array Boolean DataView Date "
        "DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity "
        "Int16Array Int32Array Int8Array Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError "
        "Reflect RegExp Set SharedArrayBuffer String SuppressedError Symbol SyntaxError TypeError URIError Uint16Array "
        "Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet decodeURI decodeURIComponent encodeURI "
        "encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined unescape InternalError",
    )
)


def listed() -> dict[str, str]:
    """Each global of the table → "works", "differs" or "missing"."""
    section = PAGE.read_text().partition("### Globals")[2].partition("\n##")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        cells = line.split("|")
        if len(cells) == 4 and "`" in cells[1]:
            (state,) = re.findall(r"^ (works|differs|missing)\b", cells[2])
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[1]), state)
    return found


async def test_the_table_has_every_global_and_no_other() -> None:
    there = set(await told("return Object.getOwnPropertyNames(globalThis);")) - LANGUAGE
    states = listed()
    says_so = {"WebSocketPair", "WebSocket", "HTMLRewriter", "EventSource"}
    assert there - says_so == {name for name, state in states.items() if state != "missing"}
    assert says_so <= {name for name, state in states.items() if state == "missing"}
