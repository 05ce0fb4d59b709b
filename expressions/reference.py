"""The table of functions in docs/expressions.md: `python -m expressions.reference`."""

from __future__ import annotations

from typing import Final

from expressions.checks import usage
from expressions.functions import FUNCTIONS, Function, Parameter, Source
from expressions.schema import STRING

HEADER: Final = ("call", "takes", "gives", "which is")


def rows() -> list[tuple[str, str, str, str]]:
    return [_row(function) for function in FUNCTIONS.values()]


def _row(function: Function) -> tuple[str, str, str, str]:
    takes = "; ".join(_taken(parameter) for parameter in function.parameters)
    # Of strings, where it depends.
    gives = str(function.gives([STRING] * len(function.parameters)))
    return f"`{usage(function)}`", takes, gives, function.does


def _taken(parameter: Parameter) -> str:
    origin = {Source.ANY: "", Source.FIELD: " of a field or function", Source.LITERAL: " written out"}
    return f"{parameter.name}: {parameter.types}{origin[parameter.source]}"


def main() -> None:
    for cells in (HEADER, ("---",) * len(HEADER), *rows()):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
