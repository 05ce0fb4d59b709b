"""Random well-typed expressions over the schema of `facts`, and an interpreter to hold the closures against.

The interpreter walks the nodes and knows nothing of closures, ranges or RE2: strings are bytes, sets are tried one
by one, patterns go to `re`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from hypothesis import strategies as st

from expressions.schema import ADDRESS, BOOLEAN, INTEGER, STRING, Array, Map, Type
from expressions.syntax import (
    EACH,
    Address,
    AddressRange,
    Argument,
    Call,
    Combination,
    Comparison,
    Expression,
    Field,
    InList,
    InSet,
    Integer,
    IntegerRange,
    Key,
    Literal,
    Logic,
    Network,
    Not,
    Operator,
    Text,
    Value,
)

# Few letters, so that random values meet.
_LETTERS: Final = 'aAb*"\\#é\udcff'
_ADDRESSES: Final = [
    ip_address(text) for text in ("0.0.0.0", "10.0.0.1", "10.0.0.2", "::", "::1", "::ffff:10.0.0.1")
]
texts: Final = st.text(_LETTERS, max_size=4)
numbers: Final = st.integers(-3, 3)
addresses: Final = st.sampled_from(_ADDRESSES)
_PATTERNS: Final = st.sampled_from(
    ["a", "^a", "b$", "[ab]+", '"', r'["\\]', "a.b", "(?i)A", r"\*", "^$", "a|b"]
)
_KEYS: Final = ("a", "b", 'q"\\é')

FIELDS: Final[Mapping[str, Type]] = {
    "t": BOOLEAN,
    "s.a": STRING,
    "s.b": STRING,
    "n": INTEGER,
    "ip": ADDRESS,
    "ts": Array(BOOLEAN),
    "ss": Array(STRING),
    "ns": Array(INTEGER),
    "m": Map(STRING),
    "ms": Map(Array(STRING)),
}
_ONE: Final[Mapping[Type, list[Field]]] = {
    BOOLEAN: [Field("t"), Field("ts", (0,)), Field("ts", (3,))],
    STRING: [
        Field("s.a"),
        Field("s.b"),
        Field("ss", (1,)),
        *(Field("m", (key,)) for key in _KEYS),
        Field("ms", ("a", 0)),
    ],
    INTEGER: [Field("n"), Field("ns", (0,))],
    ADDRESS: [Field("ip")],
}
_MANY: Final[Mapping[Type, list[Field]]] = {
    STRING: [
        Field("ss", (EACH,)),
        Field("m", (EACH,)),
        Field("ms", (EACH, EACH)),
        Field("ms", (EACH, 1)),
        Field("ms", ("b", EACH)),
    ],
    INTEGER: [Field("ns", (EACH,))],
}


def facts() -> st.SearchStrategy[dict[str, object]]:
    """Any field may be missing."""
    values: dict[str, st.SearchStrategy[object]] = {
        "t": st.booleans(),
        "s.a": texts,
        "s.b": texts,
        "n": numbers,
        "ip": addresses,
        "ts": st.lists(st.booleans(), max_size=3),
        "ss": st.lists(texts, max_size=3),
        "ns": st.lists(numbers, max_size=3),
        "m": st.dictionaries(st.sampled_from(_KEYS), texts),
        "ms": st.dictionaries(st.sampled_from(_KEYS), st.lists(texts, max_size=3)),
    }
    return st.fixed_dictionaries({}, optional=values)


def _strings(source: st.SearchStrategy[Value], many: bool) -> st.SearchStrategy[Value]:
    """A string, or one of each item, plain or as a function makes it."""
    last: tuple[Key, ...] = (EACH,) if many else ()
    call = st.sampled_from(["lower", "upper"]).flatmap(
        lambda name: source.map(lambda value: Call(name, (value,), last))
    )
    joined = st.tuples(source, texts).map(lambda pair: Call("concat", (pair[0], Text(pair[1])), last))
    return st.one_of(source, call, joined)


def _compared(many: bool) -> st.SearchStrategy[Expression]:
    of = _MANY if many else _ONE
    string = _strings(st.sampled_from(of[STRING]), many)
    number: st.SearchStrategy[Value] = st.sampled_from(of[INTEGER])
    ordered = st.sampled_from([Operator.EQ, Operator.NE, Operator.LT, Operator.LE, Operator.GT, Operator.GE])
    choices: list[st.SearchStrategy[Expression]] = [
        st.builds(Comparison, string, ordered, texts.map(Text)),
        st.builds(Comparison, string, st.just(Operator.CONTAINS), texts.map(Text)),
        st.builds(Comparison, string, st.just(Operator.MATCHES), _PATTERNS.map(Text)),
        st.builds(
            Comparison,
            string,
            st.sampled_from([Operator.WILDCARD, Operator.STRICT_WILDCARD]),
            _wildcards.map(Text),
        ),
        st.builds(InSet, string, _tuples(texts.map(Text))),
        st.builds(Comparison, number, ordered, numbers.map(Integer)),
        st.builds(Comparison, number, st.just(Operator.BITWISE_AND), numbers.map(Integer)),
        st.builds(InSet, number, _tuples(st.one_of(numbers.map(Integer), _ranges))),
    ]
    if not many:
        address = st.sampled_from(_ONE[ADDRESS])
        choices += [
            st.builds(Comparison, address, ordered, addresses.map(Address)),
            st.builds(InSet, address, _tuples(st.one_of(addresses.map(Address), _networks, _address_ranges))),
            st.builds(InList, string, st.just("few")),
            st.sampled_from(_ONE[BOOLEAN]),
            st.builds(lambda value, start: Call("starts_with", (value, start)), string, texts.map(Text)),
        ]
    else:
        choices.append(st.just(Field("ts")))
    return st.one_of(choices)


def _tuples(items: st.SearchStrategy[Literal]) -> st.SearchStrategy[tuple[Literal, ...]]:
    return st.lists(items, max_size=3).map(tuple)


_ranges = st.tuples(numbers, numbers).map(lambda ends: IntegerRange(min(ends), max(ends)))
_networks = st.sampled_from(["10.0.0.0/30", "0.0.0.0/0", "::/0", "::/127"]).map(
    lambda text: Network(ip_network(text))
)
_address_ranges = st.sampled_from([(1, 2), (3, 4), (0, 1)]).map(
    lambda ends: AddressRange(_ADDRESSES[ends[0]], _ADDRESSES[ends[1]])
)
_wildcards = st.lists(st.sampled_from(["a", "A", "b", "é", r"\*", r"\\"]), max_size=3).flatmap(
    lambda parts: st.sampled_from(
        ["*".join(parts), "".join(parts), "*" + "".join(parts), "*".join([*parts, ""])]
    )
)


def _combined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Not, inner),
        st.builds(Combination, st.sampled_from(Logic), st.lists(inner, min_size=2, max_size=4).map(tuple)),
    )


_items = st.recursive(_compared(many=True), _combined, max_leaves=4)
_quantified: st.SearchStrategy[Expression] = st.builds(
    lambda name, argument: Call(name, (argument,)), st.sampled_from(["any", "all"]), _items
)
expressions: Final[st.SearchStrategy[Expression]] = st.recursive(
    st.one_of(_compared(many=False), _quantified), _combined, max_leaves=12
)


def interpret(node: Expression, known: Mapping[str, object], few: frozenset[str]) -> bool:
    answer = _answer(node, known, few)
    return answer is True


def _answer(node: Expression, known: Mapping[str, object], few: frozenset[str]) -> Any:
    """True or False, None where a boolean is missing, or a list of answers."""
    match node:
        case Combination(logic, clauses):
            answers = [_answer(clause, known, few) for clause in clauses]
            if isinstance(answers[0], list):
                return [_logic(logic, list(row)) for row in zip(*answers, strict=False)]
            return _logic(logic, answers)
        case Not(clause):
            answer = _answer(clause, known, few)
            return [not item for item in answer] if isinstance(answer, list) else not answer
        case Comparison(left, operator, right):
            return _each_answer(left, known, few, lambda value: _compare(value, operator, right))
        case InSet(left, items):
            return _each_answer(left, known, few, lambda value: any(_holds(value, item) for item in items))
        case InList(left, _):
            return _each_answer(left, known, few, lambda value: value in few)
        case Call("any", (argument,)):
            return any(_answer(argument, known, few))  # type: ignore[arg-type]
        case Call("all", (argument,)):
            return all(_answer(argument, known, few))  # type: ignore[arg-type]
        case Field("ts", ()):
            return known.get("ts", [])
        case Field() | Call():
            values = _values(node, known, few)
            return values[0] if values else None


def _logic(logic: Logic, answers: list[Any]) -> bool:
    match logic:
        case Logic.AND:
            return all(answers)
        case Logic.OR:
            return any(answers)
        case Logic.XOR:
            return sum(1 for answer in answers if answer) % 2 == 1


def _each_answer(left: Value, known: Mapping[str, object], few: frozenset[str], test: Any) -> Any:
    answers = [test(value) for value in _values(left, known, few)]
    if EACH in left.keys:
        return answers
    return answers[0] if answers else False


def _values(node: Argument, known: Mapping[str, object], few: frozenset[str]) -> list[Any]:
    """What a value comes to: none when it is missing, several under [*]."""
    match node:
        case Text(value):
            return [value]
        case Field(name, keys):
            found = [known[name]] if name in known else []
            for key in keys:
                found = [item for value in found for item in _under(value, key)]
            return found
        case Call(name, (source, *rest)):
            others = [value for argument in rest for value in _values(argument, known, few)]
            return [_function(name, value, others) for value in _values(source, known, few)]
    raise AssertionError(node)


def _under(value: Any, key: Key) -> list[Any]:
    if key is EACH:
        return list(value.values() if isinstance(value, dict) else value)
    try:
        return [value[key]]
    except LookupError:
        return []


def _function(name: str, value: str, others: list[str]) -> Any:
    match name:
        case "lower":
            return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in value)
        case "upper":
            return "".join(chr(ord(char) - 32) if "a" <= char <= "z" else char for char in value)
        case "concat":
            return value + others[0]
        case "starts_with":
            return value[: len(others[0])] == others[0]
    raise AssertionError(name)


def _bytes(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _compare(value: Any, operator: Operator, right: Literal) -> bool:
    assert isinstance(right, Text | Integer | Address)
    one, other = _bytes(value), _bytes(right.value)
    match operator:
        case Operator.EQ:
            return bool(one == other)
        case Operator.NE:
            return bool(one != other)
        case Operator.CONTAINS:
            return bool(other in one)
        case Operator.BITWISE_AND:
            return bool(one & other)
        case Operator.MATCHES:
            return re.search(other, one) is not None
        case Operator.WILDCARD:
            return re.fullmatch(_wildcard(right.value), one, re.DOTALL | re.IGNORECASE) is not None
        case Operator.STRICT_WILDCARD:
            return re.fullmatch(_wildcard(right.value), one, re.DOTALL) is not None
    if isinstance(right, Address) and value.version != right.value.version:
        return False
    order = {
        Operator.LT: one < other,
        Operator.LE: one <= other,
        Operator.GT: one > other,
        Operator.GE: one >= other,
    }
    return bool(order[operator])


def _wildcard(pattern: Any) -> bytes:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return b"".join(b".*" if part == "*" else re.escape(_bytes(part[-1])) for part in parts)


def _holds(value: Any, item: Literal) -> bool:
    match item:
        case IntegerRange(first, last):
            return bool(first <= value <= last)
        case Network(network):
            return value in network
        case AddressRange(low, high):
            return value.version == low.version and int(low) <= int(value) <= int(high)
        case Text(other) | Integer(other) | Address(other):
            return bool(value == other)
