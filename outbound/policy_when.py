"""`when` of a rule: a filter expression, compiled, and by what the index finds it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from expressions.syntax import (
    Combination,
    Comparison,
    Expression,
    Field,
    InSet,
    Literal,
    Logic,
    Operator,
    Text,
)
from outbound.egress_fields import SCHEMA
from outbound.policy_conditions import Needs, When
from outbound.policy_document import Scalar

#: Of one expression; a document may hold thousands.
MAX_LENGTH: Final = 4_096


def read_when(entry: Scalar, document: str) -> When:
    """Raises DocumentError at the place in the document where the expression is wrong."""
    # Not at the top: the grammar takes 0.1 s to load, and most policies have no expression.
    from expressions.errors import ExpressionError
    from expressions.filters import Filter
    from expressions.grammar import parse

    text = entry.string(MAX_LENGTH)
    try:
        tree = parse(text)
        return When(text, Filter(text, tree, SCHEMA, {}), needs_of(tree))
    except ExpressionError as error:
        raise entry.fail_at(document, error.line, error.column, error.message) from error


def needs_of(tree: Expression) -> Needs:
    """For each field that must be equal to one of few strings for `tree` to hold: those strings."""
    return tuple(sorted(_needs(tree).items()))


def _needs(tree: Expression) -> dict[str, frozenset[str]]:
    match tree:
        case Comparison(left=Field(name=name, keys=()), operator=Operator.EQ, right=Text(value=value)):
            return {name: frozenset((value,))}
        case InSet(left=Field(name=name, keys=()), items=items) if (texts := _texts(items)) is not None:
            return {name: texts}
        case Combination(logic=Logic.AND, clauses=clauses):
            found: dict[str, frozenset[str]] = {}
            for clause in clauses:
                for name, values in _needs(clause).items():
                    found[name] = values & found.get(name, values)
            return found
        case Combination(logic=Logic.OR, clauses=clauses):
            first, *others = [_needs(clause) for clause in clauses]
            return {
                name: values.union(*(other[name] for other in others))
                for name, values in first.items()
                if all(name in other for other in others)
            }
        case _:
            return {}


def _texts(items: Sequence[Literal]) -> frozenset[str] | None:
    found = [item.value for item in items if isinstance(item, Text)]
    return frozenset(found) if len(found) == len(items) else None
