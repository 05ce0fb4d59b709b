"""What a compile child says, as what it may mean: one that was taken over may say anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import msgspec

from runtime.javascript.delta import MalformedDelta, parse
from runtime.module_problems import ScriptError

#: What whoever deploys is told of what a top level logged: lines, and characters of one.
_MOST_LINES, _LINE = 102, 16 * 1024
#: Of handlers and of entry points, as runtime.javascript.loading has them: how many, and how long one is.
_MOST_NAMES, _NAME = 1_000, 512


class CompileRefused(Exception):
    """The module does not compile or start, or takes more than a limit. The text is for the uploader."""


class ScriptRefused(CompileRefused):
    """JavaScript that does not parse, or whose top level fails."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Compiled:
    image: bytes
    startup_us: int


@dataclass(frozen=True, slots=True)
class LoadedScript:
    """`delta` is as runtime.javascript.delta has it, and was checked; `entrypoints` are exported classes."""

    delta: bytes
    handlers: frozenset[str]
    entrypoints: tuple[str, ...]
    startup_us: int
    #: (level, text) of what the top level logged.
    lines: tuple[tuple[int, str], ...] = ()


def read_compiled(out: bytes) -> Compiled:
    """Raises CompileRefused."""
    answer = _answer(out)
    image, startup_us = answer.get("image"), answer.get("startup_us")
    if not isinstance(image, bytes) or not isinstance(startup_us, int):
        raise _no_answer(answer)
    return Compiled(image, startup_us)


def read_loaded(out: bytes) -> LoadedScript:
    """Raises CompileRefused, ScriptRefused. It takes some ms of a large one."""
    answer = _answer(out)
    script = answer.get("script")
    if isinstance(script, dict):
        raise ScriptRefused(_script_error(script))
    delta, startup_us = answer.get("delta"), answer.get("startup_us")
    handlers, entrypoints = _names(answer.get("handlers")), _names(answer.get("entrypoints"))
    if not isinstance(delta, bytes) or not isinstance(startup_us, int):
        raise _no_answer(answer)
    if handlers is None or entrypoints is None:
        raise _no_answer({})
    try:
        parse(delta)
    except MalformedDelta as error:
        raise CompileRefused(f"the compiler gave no answer: {error}") from error
    return LoadedScript(delta, frozenset(handlers), entrypoints, startup_us, _lines(answer.get("lines")))


def _answer(out: bytes) -> dict[str, object]:
    try:
        answer = msgpack.unpackb(out)  # of its length, and so with no more in it
    except ValueError as error:
        raise _no_answer({}) from error
    if not isinstance(answer, dict):
        raise _no_answer({})
    return answer


def _no_answer(answer: Mapping[str, object]) -> CompileRefused:
    return CompileRefused(str(answer.get("error", "the compiler gave no answer")))


def _script_error(told: Mapping[str, object]) -> ScriptError:
    try:
        return msgspec.convert({**told, "lines": _lines(told.get("lines"))}, ScriptError)
    except (msgspec.ValidationError, TypeError):
        raise CompileRefused("the compiler gave no answer") from None


def _names(told: object) -> tuple[str, ...] | None:
    if not isinstance(told, list) or len(told) > _MOST_NAMES:
        return None
    return tuple(told) if all(isinstance(name, str) and len(name) <= _NAME for name in told) else None


def _lines(told: object) -> tuple[tuple[int, str], ...]:
    if not isinstance(told, list):
        return ()
    pairs = [line for line in told[:_MOST_LINES] if isinstance(line, list) and len(line) == 2]
    return tuple(
        (level, text[:_LINE])
        for level, text in pairs
        if isinstance(level, int) and 0 <= level <= 4 and isinstance(text, str)
    )
