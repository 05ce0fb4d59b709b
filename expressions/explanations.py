"""Why an expression is true or false of some facts: the clauses that decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from expressions.closures import Closures, Facts
from expressions.formatting import formatted
from expressions.syntax import Combination, Comparison, Expression, InList, InSet, Logic, Not


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition without and, or, xor or not around it. `found` is what was compared; None is missing."""

    text: str
    answer: bool
    found: object


def deciding(expression: Expression, closures: Closures, facts: Facts) -> tuple[Clause, ...]:
    """The clauses without which the answer could be another one, as far as it was worked out.

    Of a false `and` and a true `or` that is the first clause that settles it; of the others, all of them.
    """
    return tuple(_deciding(expression, closures, facts))


def _deciding(node: Expression, closures: Closures, facts: Facts) -> Iterator[Clause]:
    match node:
        case Not(clause):
            yield from _deciding(clause, closures, facts)
        case Combination(logic, clauses):
            settles = {Logic.AND: False, Logic.OR: True}.get(logic)
            for clause in clauses:
                if settles is not None and bool(closures.condition(clause)(facts)) is settles:
                    yield from _deciding(clause, closures, facts)
                    return
            for clause in clauses:
                yield from _deciding(clause, closures, facts)
        case Comparison(left=left) | InSet(left=left) | InList(left=left):
            yield Clause(formatted(node), bool(closures.condition(node)(facts)), closures.value(left)(facts))
        case _:
            answer = closures.condition(node)(facts)
            yield Clause(formatted(node), bool(answer), answer)
