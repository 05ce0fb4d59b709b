"""The way in: an expression's text becomes a Filter, once; the filter judges facts, often."""

from __future__ import annotations

from collections.abc import Mapping

from expressions.checks import Checker
from expressions.closures import Closures
from expressions.grammar import MAX_BYTES, parse
from expressions.lists import NamedList
from expressions.schema import Schema
from expressions.syntax import Expression, Field, values


class Filter:
    """A checked expression. Immutable, and free to be used by several threads."""

    __slots__ = ("_condition", "_source", "fields", "text")

    def __init__(self, text: str, source: Expression, schema: Schema, lists: Mapping[str, NamedList]) -> None:
        checker = Checker(text, schema, lists)
        checker.check(source)
        self.text = text
        self.fields = frozenset(value.name for value in values(source) if isinstance(value, Field))
        self._source = source
        self._condition = Closures(checker.types, lists).condition(source)

    def matches(self, facts: Mapping[str, object]) -> bool:
        """Whether the expression is true of `facts`, which has values as the schema declares them.

        Only `fields` are asked for, and none of them has to be there. Doesn't raise.
        """
        return bool(self._condition(facts))

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"


def compile_filter(
    text: str, schema: Schema, lists: Mapping[str, NamedList] | None = None, *, max_bytes: int = MAX_BYTES
) -> Filter:
    """`text` as a filter over facts of `schema`, with `lists` for what it calls $name. Raises ExpressionError.

    Takes milliseconds for the longest text: make filters when rules are saved or loaded, not by request.
    """
    return Filter(text, parse(text, max_bytes), schema, lists or {})
