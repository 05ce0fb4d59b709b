"""An expression in its one form: what `grammar.parse` reads back as equal nodes."""

from __future__ import annotations

from typing import Final

from expressions.literals import as_pattern, in_quotes, spelt
from expressions.syntax import (
    Argument,
    Call,
    Combination,
    Comparison,
    Expression,
    Field,
    InList,
    InSet,
    Integer,
    Key,
    Logic,
    Not,
    Operator,
    Text,
)

# The loosest first.
_PRECEDENCE: Final = (Logic.OR, Logic.XOR, Logic.AND)


def formatted(expression: Expression) -> str:
    """One line: English operators, decimal numbers, and no parentheses but those that matter."""
    match expression:
        case Combination(logic, clauses):
            return f" {logic} ".join(_within(logic, clause) for clause in clauses)
        case Not(clause):
            return (
                f"not ({formatted(clause)})"
                if isinstance(clause, Combination)
                else f"not {formatted(clause)}"
            )
        case Comparison(left, Operator.MATCHES, Text(pattern)):
            return f"{formatted(left)} matches {as_pattern(pattern)}"
        case Comparison(left, operator, right):
            return f"{formatted(left)} {operator} {spelt(right)}"
        case InSet(left, items):
            return f"{formatted(left)} in {{{' '.join(map(spelt, items))}}}"
        case InList(left, name):
            return f"{formatted(left)} in ${name}"
        case Field(name, keys):
            return name + _keys(keys)
        case Call(name, args, keys):
            return f"{name}({', '.join(map(_argument, args))}){_keys(keys)}"


def _within(logic: Logic, clause: Expression) -> str:
    tighter = not isinstance(clause, Combination) or _PRECEDENCE.index(clause.logic) > _PRECEDENCE.index(
        logic
    )
    return formatted(clause) if tighter else f"({formatted(clause)})"


def _argument(argument: Argument) -> str:
    if isinstance(argument, Text | Integer):
        return spelt(argument)
    return f"({formatted(argument)})" if isinstance(argument, Combination) else formatted(argument)


def _keys(keys: tuple[Key, ...]) -> str:
    return "".join(
        f"[{in_quotes(key)}]" if isinstance(key, str) else f"[{key if isinstance(key, int) else key.value}]"
        for key in keys
    )
