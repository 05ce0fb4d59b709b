"""From checked nodes to closures: each reads the facts in place, and none raises.

A value's closure returns None for what is missing. A missing value makes each comparison false, `ne` too, as
Cloudflare documents it; `not` of such a comparison is therefore true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from expressions.checks import maps
from expressions.functions import FUNCTIONS
from expressions.lists import NamedList
from expressions.relations import Test, comparison, membership
from expressions.schema import BOOLEANS, Type
from expressions.syntax import (
    EACH,
    Address,
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
    Value,
)

Facts = Mapping[str, Any]
Read = Callable[[Facts], Any]


class Closures:
    """Makes the closures of one expression; `types` is what `checks` found of its nodes."""

    def __init__(self, types: Mapping[int, Type], lists: Mapping[str, NamedList]) -> None:
        self._types = types
        self._lists = lists

    def condition(self, node: Expression) -> Callable[[Facts], bool]:
        """True or false of facts. Of an expression that `checks` let pass."""
        return self._read(node)

    def value(self, node: Value) -> Read:
        """What a field or call of the expression comes to."""
        return self._read(node)

    def _read(self, node: Argument) -> Read:
        match node:
            case Combination(logic, clauses):
                reads = [self._read(clause) for clause in clauses]
                return (_joined_items if self._is_items(node) else _joined)(logic, reads)
            case Not(clause):
                inner = self._read(clause)
                if self._is_items(node):
                    return lambda facts: [not answer for answer in inner(facts)]
                return lambda facts: not inner(facts)
            case Comparison(Field(name, ()), Operator.EQ, Text() | Integer() | Address() as right):
                return _equal_field(name, right.value)
            case Comparison(left, sign, right):
                return self._tested(left, comparison(sign, right))
            case InSet(left, items):
                return self._tested(left, membership(items))
            case InList(left, name):
                return self._tested(left, self._lists[name].has)
            case Field(name, keys):
                return self._standing(node, _fetched(name, keys))
            case Call():
                return self._standing(node, self._called(node))
            case Text(value) | Integer(value):
                return lambda _facts: value

    def _is_items(self, node: Argument) -> bool:
        return self._types[id(node)] == BOOLEANS

    def _standing(self, node: Value, read: Read) -> Read:
        """Missing booleans are false, and a missing array of them is empty; other values stay missing."""
        given = self._types[id(node)]
        if given == BOOLEANS:
            return lambda facts: read(facts) or ()
        return read

    def _tested(self, left: Value, test: Test) -> Read:
        if isinstance(left, Field) and not left.keys:
            return _tested_field(left.name, test)
        read = self._read(left)
        if EACH in left.keys:
            return lambda facts: [test(item) for item in read(facts) or ()]

        def tested(facts: Facts) -> bool:
            value = read(facts)
            return value is not None and test(value)

        return tested

    def _called(self, call: Call) -> Read:
        read = self._call(call)
        return _chosen(read, call.keys) if call.keys else read

    def _call(self, call: Call) -> Read:
        run = FUNCTIONS[call.name].run
        reads = []
        for argument in call.args:
            reads.append(self._read(argument))  # noqa: PERF401 - a comprehension is one more frame a level
        first, *others = reads
        if not maps(call):
            written = [argument.value for argument in call.args[1:] if isinstance(argument, Text | Integer)]
            if len(written) == len(others):
                return _call_of_one(run, first, written)
            return _call_of_all(run, [first, *others])

        def mapped(facts: Facts) -> list[Any]:
            rest = [read(facts) for read in others]
            if None in rest:
                return []
            results = (run(item, *rest) for item in first(facts) or ())
            return [result for result in results if result is not None]

        return mapped


def _equal_field(name: str, value: object) -> Read:
    """The most frequent comparison. None is equal to no value, so what is missing needs no test."""
    return lambda facts: facts.get(name) == value


def _tested_field(name: str, test: Test) -> Read:
    """The same for a field as it is, which most comparisons are about: one call less."""

    def tested(facts: Facts) -> bool:
        value = facts.get(name)
        return value is not None and test(value)

    return tested


def _call_of_one(run: Callable[..., Any], first: Read, written: list[str | int]) -> Read:
    """Of which all arguments but the first are literals, as in most calls."""

    def called(facts: Facts) -> Any:
        value = first(facts)
        return None if value is None else run(value, *written)

    return called


def _call_of_all(run: Callable[..., Any], reads: list[Read]) -> Read:
    def called(facts: Facts) -> Any:
        values = [read(facts) for read in reads]
        return None if None in values else run(*values)

    return called


def _fetched(name: str, keys: tuple[Key, ...]) -> Read:
    def fetched(facts: Facts) -> Any:
        return facts.get(name)

    return _chosen(fetched, keys) if keys else fetched


def _chosen(read: Read, keys: tuple[Key, ...]) -> Read:
    if EACH in keys:

        def every(facts: Facts) -> list[Any] | None:
            value = read(facts)
            return None if value is None else list(_each(value, keys))

        return every

    def one(facts: Facts) -> Any:
        value = read(facts)
        for key in keys:
            if value is None:
                return None
            value = _item(value, key)
        return value

    return one


def _item(value: Any, key: Key) -> Any:
    if isinstance(key, str):
        return value.get(key)
    return value[key] if key < len(value) else None  # type: ignore[operator]


def _each(value: Any, keys: tuple[Key, ...]) -> Iterator[Any]:
    """What is there under `keys`, in order; items that lack one of the keys are left out."""
    if value is None:
        return
    if not keys:
        yield value
        return
    key, rest = keys[0], keys[1:]
    if key is not EACH:
        yield from _each(_item(value, key), rest)
        return
    for item in value.values() if isinstance(value, Mapping) else value:
        yield from _each(item, rest)


def _joined(logic: Logic, reads: list[Read]) -> Read:
    if logic is Logic.XOR:
        return lambda facts: sum(map(bool, [read(facts) for read in reads])) % 2 == 1
    if len(reads) == 2:
        one, other = reads
        if logic is Logic.AND:
            return lambda facts: bool(one(facts) and other(facts))
        return lambda facts: bool(one(facts) or other(facts))
    # Loops: any() and all() over a generator cost a third more.
    if logic is Logic.AND:

        def conjunction(facts: Facts) -> bool:
            for read in reads:  # noqa: SIM110
                if not read(facts):
                    return False
            return True

        return conjunction

    def disjunction(facts: Facts) -> bool:
        for read in reads:  # noqa: SIM110
            if read(facts):
                return True
        return False

    return disjunction


_LOGIC: Final[Mapping[Logic, Callable[[bool, bool], bool]]] = {
    Logic.AND: operator.and_,
    Logic.OR: operator.or_,
    Logic.XOR: operator.xor,
}


def _joined_items(logic: Logic, reads: list[Read]) -> Read:
    """Item by item, as long as the shortest."""
    join = _LOGIC[logic]

    def joined(facts: Facts) -> list[bool]:
        answers = list(reads[0](facts))
        for read in reads[1:]:
            answers = [join(one, other) for one, other in zip(answers, read(facts), strict=False)]
        return answers

    return joined
