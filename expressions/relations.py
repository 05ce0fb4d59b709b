"""What stands right of a value, as a test of one value that is there."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from expressions.ranges import address_member, integer_member
from expressions.regex import searcher
from expressions.strings import as_bytes
from expressions.syntax import (
    Address,
    AddressRange,
    Integer,
    IntegerRange,
    IPAddress,
    Literal,
    Network,
    Operator,
    Text,
)
from expressions.wildcards import matcher

Test = Callable[[Any], bool]

_ORDER: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


def comparison(sign: Operator, right: Literal) -> Test:
    assert isinstance(right, Text | Integer | Address)  # noqa: S101 - ranges stand in sets, says `checks`
    value: Any = right.value
    match sign:
        case Operator.EQ:
            return partial(operator.eq, value)
        case Operator.NE:
            return partial(operator.ne, value)
        case Operator.LT | Operator.LE | Operator.GT | Operator.GE:
            return _ordering(_ORDER[sign], value)
        case Operator.BITWISE_AND:
            return lambda given: given & value != 0
        case Operator.CONTAINS:
            return _containing(value)
        case Operator.MATCHES:
            return searcher(value)
        case Operator.WILDCARD:
            return matcher(value, strict=False)
        case Operator.STRICT_WILDCARD:
            return matcher(value, strict=True)


def _ordering(compare: Callable[[Any, Any], bool], value: Any) -> Test:
    if isinstance(value, str):
        # The order of bytes. Characters have the same, but for those that stand for bytes that are no UTF-8.
        limit = as_bytes(value)
        return lambda given: compare(as_bytes(given), limit)
    if isinstance(value, int):
        return lambda given: compare(given, value)
    # Addresses of two versions have no order.
    return lambda given: given.version == value.version and compare(int(given), int(value))


def _containing(value: str) -> Test:
    if value.isascii():
        return lambda given: value in given
    # A part of a character is found in bytes alone.
    part = as_bytes(value)
    return lambda given: part in as_bytes(given)


def membership(items: tuple[Literal, ...]) -> Test:
    numbers: list[tuple[int, int]] = []
    addresses: list[tuple[IPAddress, IPAddress]] = []
    texts: set[str] = set()
    for item in items:
        match item:
            case Text(text):
                texts.add(text)
            case Integer(number):
                numbers.append((number, number))
            case IntegerRange(start, end):
                numbers.append((start, end))
            case Address(address):
                addresses.append((address, address))
            case AddressRange(low, high):
                addresses.append((low, high))
            case Network(network):
                addresses.append((network[0], network[-1]))
    if numbers:
        return integer_member(numbers)
    if addresses:
        return address_member(addresses)
    return frozenset(texts).__contains__
