"""The nodes of a parsed expression: frozen values, equal when they say the same.

`at` is the offset of a node's first character, for errors; it takes no part in equality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Node:
    at: int = field(default=0, compare=False, repr=False, kw_only=True)
    # Parentheses, `not` and calls on the way down. Bounded while parsing, so that whoever walks a tree may recurse.
    depth: int = field(default=0, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string; of a quoted one the meaning, not the spelling. Bytes that are no UTF-8 are surrogates."""

    value: str


@dataclass(frozen=True, slots=True)
class Integer(Node):
    value: int


@dataclass(frozen=True, slots=True)
class IntegerRange(Node):
    """Both ends belong to it."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Address(Node):
    value: IPAddress


@dataclass(frozen=True, slots=True)
class AddressRange(Node):
    """Both ends belong to it, and are of one IP version."""

    first: IPAddress
    last: IPAddress


@dataclass(frozen=True, slots=True)
class Network(Node):
    value: IPv4Network | IPv6Network


Literal = Text | Integer | IntegerRange | Address | AddressRange | Network


class Each(Enum):
    """The key `[*]`."""

    EACH = "*"


EACH = Each.EACH
Key = int | str | Each


@dataclass(frozen=True, slots=True)
class Field(Node):
    name: str
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function's call, `any` and `all` among them."""

    name: str
    args: tuple[Argument, ...]
    keys: tuple[Key, ...] = ()


class Operator(StrEnum):
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    CONTAINS = "contains"
    MATCHES = "matches"
    WILDCARD = "wildcard"
    STRICT_WILDCARD = "strict wildcard"
    BITWISE_AND = "bitwise_and"


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    left: Value
    operator: Operator
    right: Literal


@dataclass(frozen=True, slots=True)
class InSet(Node):
    left: Value
    items: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class InList(Node):
    left: Value
    name: str


@dataclass(frozen=True, slots=True)
class Not(Node):
    clause: Expression


class Logic(StrEnum):
    AND = "and"
    XOR = "xor"
    OR = "or"


@dataclass(frozen=True, slots=True)
class Combination(Node):
    """Two or more clauses that one operator joins. `a and b and c` is one combination of three."""

    logic: Logic
    clauses: tuple[Expression, ...]


Value = Field | Call
# A Field or Call that stands alone is a boolean.
Expression = Combination | Not | Comparison | InSet | InList | Field | Call
Argument = Expression | Text | Integer


def values(node: Argument | Literal) -> Iterator[Value]:
    """Every field and call in `node`."""
    match node:
        case Combination(clauses=clauses):
            for clause in clauses:
                yield from values(clause)
        case Not(clause=clause):
            yield from values(clause)
        case Comparison(left=left) | InSet(left=left) | InList(left=left):
            yield from values(left)
        case Field():
            yield node
        case Call(args=args):
            yield node
            for argument in args:
                yield from values(argument)
