"""The way in: an expression's text becomes a Filter, once; the filter judges facts, often."""

from __future__ import annotations

from collections.abc import Mapping

from expressions.checks import Checker
from expressions.closures import Closures
from expressions.explanations import Clause, deciding
from expressions.formatting import formatted
from expressions.grammar import MAX_BYTES, parse
from expressions.lists import NamedList
from expressions.schema import Schema
from expressions.syntax import Expression, Field, values


class Filter:
    """A checked expression. Immutable, and free to be used by several threads."""

    __slots__ = ("_closures", "_condition", "_expression", "fields", "text")

    def __init__(
        self, text: str, expression: Expression, schema: Schema, lists: Mapping[str, NamedList]
    ) -> None:
        checker = Checker(text, schema, lists)
        checker.check(expression)
        self.text = text
        self.fields = frozenset(value.name for value in values(expression) if isinstance(value, Field))
        self._expression = expression
        self._closures = Closures(checker.types, lists)
        self._condition = self._closures.condition(expression)

    def matches(self, facts: Mapping[str, object]) -> bool:
        """Whether the expression is true of `facts`, which has values as the schema declares them.

        Only `fields` are asked for, and none of them has to be there. Doesn't raise.
        """
        return bool(self._condition(facts))

    def explain(self, facts: Mapping[str, object]) -> tuple[Clause, ...]:
        """The clauses that made `matches` answer as it does, in their order. For people: slower than `matches`."""
        return deciding(self._expression, self._closures, facts)

    @property
    def normalised(self) -> str:
        """The expression in its one form: two that differ in spelling alone have the same."""
        return formatted(self._expression)

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"


def compile_filter(
    text: str, schema: Schema, lists: Mapping[str, NamedList] | None = None, *, max_bytes: int = MAX_BYTES
) -> Filter:
    """`text` as a filter over facts of `schema`, with `lists` for what it calls $name. Raises ExpressionError.

    Takes milliseconds for the longest text: make filters when rules are saved or loaded, not by request.
    """
    return Filter(text, parse(text, max_bytes), schema, lists or {})
