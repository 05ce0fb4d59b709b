"""A YAML or JSON document, read strictly into nodes that know their line. Pure; knows nothing of rules.

JSON is read as the YAML it is. Scalars keep their text: each field says how it wants to be read, so that
`no` stays a word and `0x50` is no port. Anchors, aliases and tags are refused, and depth and size are
bounded: a document can neither expand nor recurse.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import yaml

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 8

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LETTER = re.compile(r"[A-Za-z]")
_NUMBER = re.compile(r"[0-9]{1,15}")


class Mark(Protocol):
    """A place in the text, from 0."""

    index: int
    line: int
    column: int


class DocumentError(ValueError):
    """The document is wrong at `line` and `column` (from 1), in `field` ("" when no field is to blame).

    The message holds all of it and says what would be right.
    """

    def __init__(self, message: str, *, line: int, column: int = 1, field: str = "") -> None:
        where = f"line {line}, column {column}"
        super().__init__(f"{where}: {field}: {message}" if field else f"{where}: {message}")
        self.line = line
        self.column = column
        self.field = field


class _Place:
    """Where a node begins; from 1."""

    __slots__ = ()
    mark: Mark
    path: str

    @property
    def line(self) -> int:
        return self.mark.line + 1

    @property
    def column(self) -> int:
        return self.mark.column + 1

    def fail(self, message: str) -> DocumentError:
        return DocumentError(message, line=self.line, column=self.column, field=self.path)


@dataclass(slots=True)
class Scalar(_Place):
    text: str
    mark: Mark
    end: Mark
    path: str

    def fail_at(self, document: str, line: int, column: int, message: str) -> DocumentError:
        """Something is wrong inside of the value, at `line` and `column` of it: the error names the place in
        the document. `document` is its whole text.
        """
        offset = len("".join(self.text.splitlines(keepends=True)[: line - 1])) + column - 1
        at, found = self.mark.index, self.mark.index
        # The value's characters stand in the document in their order, with quotes, escapes, folds and
        # indentation between them.
        for char in self.text[: offset + 1]:
            if char.isspace():
                continue
            found = document.find(char, at, self.end.index)
            if found < 0 or _LETTER.search(document, at, found):  # an escape spells it otherwise
                return self.fail(message)
            at = found + 1
        before = document[:found]
        return DocumentError(
            message,
            line=before.count("\n") + 1,
            column=found - before.rfind("\n"),
            field=self.path,
        )

    def string(self, max_length: int = 1_024) -> str:
        if not self.text:
            raise self.fail("is empty; give a value or leave the field out")
        if len(self.text) > max_length:
            raise self.fail(f"has {len(self.text)} characters; at most {max_length} are right")
        return self.text

    def integer(self, low: int, high: int) -> int:
        if not _NUMBER.fullmatch(self.text) or not low <= int(self.text) <= high:
            raise self.fail(f"is {self.text[:40]!r}; a whole number from {low} to {high} is right")
        return int(self.text)

    def choice(self, allowed: Collection[str]) -> str:
        if self.text in allowed:
            return self.text
        raise self.fail(f"is {self.text[:40]!r}; {_one_of(allowed)} is right{nearest(self.text, allowed)}")


@dataclass(slots=True)
class Items(_Place):
    values: list[Node]
    mark: Mark
    path: str


@dataclass(slots=True)
class Fields(_Place):
    """A mapping: each key with its node; keys are unique."""

    values: dict[str, Node]
    keys: dict[str, Scalar]
    mark: Mark
    path: str

    def only(self, allowed: Collection[str]) -> None:
        """Raises for the first key that is not in `allowed`, with the nearest that is."""
        for name, key in self.keys.items():
            if name not in allowed:
                raise DocumentError(
                    f"unknown field {name[:60]!r}{nearest(name, allowed)}; known: {', '.join(allowed)}",
                    line=key.line,
                    column=key.column,
                    field=self.path,
                )

    def scalar(self, name: str) -> Scalar | None:
        node = self.values.get(name)
        if node is None or isinstance(node, Scalar):
            return node
        raise node.fail("is a list or a mapping; one value is right")

    def required(self, name: str) -> Scalar:
        node = self.scalar(name)
        if node is None:
            raise self.fail(f"has no {name!r}, which every one needs")
        return node

    def items(self, name: str) -> list[Node]:
        node = self.values.get(name)
        if node is None:
            return []
        if isinstance(node, Items):
            return node.values
        raise node.fail("is no list; write its entries as lines that begin with '- '")

    def scalars(self, name: str) -> list[Scalar]:
        """A list of values, or one value alone; [] when the field is absent, never when it is empty."""
        node = self.values.get(name)
        if node is None:
            return []
        if isinstance(node, Scalar):
            return [node]
        if isinstance(node, Fields):
            raise node.fail("is a mapping; a value or a list of values is right")
        if not node.values:
            raise node.fail("is an empty list; leave the field out, or name at least one")
        found = [entry for entry in node.values if isinstance(entry, Scalar)]
        if len(found) != len(node.values):
            raise node.fail("has an entry that is a list or a mapping; each must be one value")
        return found


Node = Scalar | Items | Fields


def nearest(name: str, allowed: Collection[str]) -> str:
    """` (did you mean 'x'?)` or nothing."""
    close = difflib.get_close_matches(name.lower()[:60], allowed, n=1, cutoff=0.6)
    return f" (did you mean {str(close[0])!r}?)" if close else ""


def read_document(text: str, what: str) -> Fields:
    """The document's top mapping. `what` names it in errors. Raises DocumentError."""
    if len(text.encode("utf-8", "replace")) > MAX_DOCUMENT_BYTES:
        raise DocumentError(f"the {what} is larger than {MAX_DOCUMENT_BYTES} bytes", line=1)
    node: Node | None = None
    try:
        parser = _LOADER(text)
        try:
            while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
                if isinstance(event, yaml.DocumentStartEvent):
                    if node is not None:
                        line = cast(Mark, event.start_mark).line + 1
                        raise DocumentError(f"a second document begins; a {what} is one", line=line)
                    node = _node(parser.get_event(), parser.get_event, "", 0)
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(
            f"the {what} is neither YAML nor JSON: {error.problem or error.context}",
            line=mark.line + 1 if mark else 1,
            column=mark.column + 1 if mark else 1,
        ) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise DocumentError(f"the {what} is neither YAML nor JSON: {error}", line=1) from error
    if not isinstance(node, Fields):
        raise DocumentError(f"the {what} is empty or no mapping of fields to values", line=1)
    return node


def _node(event: Any, read: Callable[[], Any], path: str, depth: int) -> Node:
    # Of a document of 1,000 rules this runs 15,000 times; what the events hold is PyYAML's, untyped.
    mark: Mark = event.start_mark
    kind = type(event)
    if kind is yaml.AliasEvent or event.anchor is not None:
        raise _refused(mark, path, "has an anchor or alias; write the value out")
    if event.tag is not None:
        raise _refused(mark, path, "has a tag; plain values are right")
    if depth > MAX_DEPTH:
        raise _refused(mark, path, f"is nested deeper than {MAX_DEPTH}")
    if kind is yaml.ScalarEvent:
        return Scalar(event.value, mark, event.end_mark, path)
    if kind is yaml.SequenceStartEvent:
        entries: list[Node] = []
        while type(child := read()) is not yaml.SequenceEndEvent:
            entries.append(_node(child, read, f"{path}[{len(entries)}]", depth + 1))
        return Items(entries, mark, path)
    nodes: dict[str, Node] = {}
    keys: dict[str, Scalar] = {}
    while type(child := read()) is not yaml.MappingEndEvent:
        key = _node(child, read, path, depth + 1)
        if not isinstance(key, Scalar):
            raise key.fail("has a key that is a list or a mapping")
        name = key.text
        if name in keys:
            raise key.fail(f"has the field {name[:60]!r} twice")
        keys[name] = key
        nodes[name] = _node(read(), read, (f"{path}.{name}" if path else name)[:200], depth + 1)
    return Fields(nodes, keys, mark, path)


def _refused(mark: Mark, path: str, message: str) -> DocumentError:
    return DocumentError(message, line=mark.line + 1, column=mark.column + 1, field=path)


def _one_of(allowed: Collection[str]) -> str:
    *most, last = allowed
    return f"{', '.join(most)} or {last}" if most else last
