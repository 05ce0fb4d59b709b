"""docs/bindings.md, made from the table: `python -m bindings.reference > docs/bindings.md`."""

from __future__ import annotations

import sys

from bindings.contract.notes import COMMON_ERRORS, OperationNotes
from bindings.contract.runtime import RUNTIME_OPERATIONS
from bindings.operations import OPERATIONS, REFERENCE

_HEAD = """\
# Bindings: what a worker can ask of the host

<!-- Made by `python -m bindings.reference > docs/bindings.md`; a test holds it to the code. -->

An operation is `[id, name, binding, argument…]` in a `call` ([guest-abi.md](guest-abi.md)); `binding` is the
name under which the worker was lent something, or nil. Values are MessagePack; shapes are written like this:
`{a: str, b?: int}` is a map whose `b` may be left out, `[str…]` an array, `bin` bytes, `any` whatever JSON
can say. An optional argument may be nil or left out. A key of an options map that is not listed is refused.

Any operation may fail with one of these; each row lists what it adds.
"""

_COMMON = {
    "unknown_operation": "there is no operation of this name",
    "unknown_binding": "the worker has no binding of this name, or one of another type",
    "invalid_argument": "the message names the argument, what was wrong, and what would be right",
    "limit_exceeded": "the message names the limit and its value",
    "cancelled": "the worker cancelled it, or the event is ending",
    "internal": "a fault of the platform's",
}


def reference() -> str:
    """The whole page."""
    parts = [_HEAD]
    parts += [f"- `{code}`: {_COMMON[code]}" for code in COMMON_ERRORS]
    parts += [
        "",
        "A write that was submitted completes, even when the operation is cancelled or the event ends: a",
        "cancel means that the worker does not learn the result.",
        "",
        "The last column has what a component calls for the same thing, where the standard has a word for it: a",
        "function, or a method of a resource, of an interface of WASI. What a worker is told with its event and needs",
        "no operation for has words there too: variables are `wasi:config/store` and `wasi:cli/environment`, `log` is",
        "`wasi:logging/logging#log`, the time `wasi:clocks/wall-clock#now`, randomness `wasi:random/random`.",
        "",
        "| operation | binding type | counts as a subrequest | in WASI |",
        "|---|---|---|---|",
    ]
    parts += [_row(row) for row in REFERENCE]
    parts += ["", "## What is lent", ""]
    parts += [_section(row) for row in REFERENCE if row.name in OPERATIONS]
    parts += ["## What belongs to the event itself", ""]
    parts += [_section(row) for row in RUNTIME_OPERATIONS]
    return "\n".join(parts).rstrip() + "\n"


def _row(row: OperationNotes) -> str:
    wasi = ", ".join(f"`{name}`" for name in row.wasi) or "–"
    subrequest = "yes" if row.subrequest else "no"
    return f"| [`{row.name}`](#{_anchor(row.name)}) | {row.binding or '–'} | {subrequest} | {wasi} |"


def _section(row: OperationNotes) -> str:
    lines = [f"### {row.name}", "", row.summary, ""]
    lines += [f"- **{name}**: {_code(shape)}" for name, shape in row.arguments]
    lines.append(f"- result: {_code(row.result)}")
    lines += [f"- `{code}`: {why}" for code, why in row.errors]
    lines += [f"- limit: {limit}" for limit in row.limits]
    return "\n".join([*lines, ""])


def _code(shape: str) -> str:
    """A shape alone is set as code; one with words around it has its own backticks or none."""
    return shape if "`" in shape or ";" in shape else f"`{shape}`"


def _anchor(name: str) -> str:
    """As GitHub makes it from the heading."""
    return name.replace(".", "")


if __name__ == "__main__":
    sys.stdout.write(reference())
