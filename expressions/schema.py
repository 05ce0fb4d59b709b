"""The facts that an expression may ask for, by name and type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final


class Scalar(StrEnum):
    """The types whose values can be compared. What stands for a value in the facts is in brackets."""

    STRING = "string"  # str; bytes that are no UTF-8 as surrogates (`surrogateescape`)
    INTEGER = "integer"  # int
    BOOLEAN = "boolean"  # bool
    ADDRESS = "address"  # IPv4Address or IPv6Address

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Array:
    """list or tuple of values of one type."""

    of: Type

    def __str__(self) -> str:
        return f"array of {self.of}"


@dataclass(frozen=True, slots=True)
class Map:
    """Mapping of str to values of one type."""

    of: Type

    def __str__(self) -> str:
        return f"map of {self.of}"


Type = Scalar | Array | Map

STRING, INTEGER, BOOLEAN, ADDRESS = Scalar.STRING, Scalar.INTEGER, Scalar.BOOLEAN, Scalar.ADDRESS
BOOLEANS = Array(BOOLEAN)


# As `grammar` has it.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")


class Schema:
    """Field names and their types. A field that the facts lack, or have as None, is missing: not an error."""

    def __init__(self, fields: Mapping[str, Type]) -> None:
        for name in fields:
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} can't name a field: write words joined by dots")
        self.fields: Mapping[str, Type] = MappingProxyType(dict(fields))

    def problems(self, facts: Mapping[str, object]) -> list[str]:
        """What in `facts` is not of the declared type. For the tests of whoever makes facts: judging trusts them."""
        found = []
        for name, value in facts.items():
            declared = self.fields.get(name)
            if declared is None:
                found.append(f"{name} is not in the schema")
            elif value is not None and not _is_of(value, declared):
                found.append(f"{name} is {value!r}, and declared as {declared}")
        return found


def _is_of(value: object, declared: Type) -> bool:
    match declared:
        case Array(of):
            return isinstance(value, list | tuple) and all(_is_of(item, of) for item in value)
        case Map(of):
            return isinstance(value, Mapping) and all(
                isinstance(key, str) and _is_of(item, of) for key, item in value.items()
            )
        case Scalar.STRING:
            return isinstance(value, str)
        case Scalar.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case Scalar.BOOLEAN:
            return isinstance(value, bool)
        case Scalar.ADDRESS:
            return isinstance(value, IPv4Address | IPv6Address)
