"""Whether the parts of an expression fit: names against the schema, operators and arguments against types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from expressions.errors import ExpressionError, error_at
from expressions.functions import FUNCTIONS, Function, Parameter, Source
from expressions.lists import NamedList
from expressions.regex import PatternError, check_pattern
from expressions.schema import ADDRESS, BOOLEAN, BOOLEANS, INTEGER, STRING, Array, Map, Schema, Type
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
    Literal,
    Network,
    Not,
    Operator,
    Text,
    Value,
)
from expressions.wildcards import WildcardError, check_wildcard

# As many regular expressions as Cloudflare allows a rule: each takes memory of its own. And what all of them may
# take a byte of a value at the worst, in steps of some 4 ns: 8 KiB are then judged within 70 ms, against any pattern.
MAX_PATTERNS: Final = 64
MAX_PATTERN_STEPS: Final = 2_000
_TEXT_OPERATORS: Final = {
    Operator.CONTAINS,
    Operator.MATCHES,
    Operator.WILDCARD,
    Operator.STRICT_WILDCARD,
}


class Checker:
    """One expression's checks. `types` has, of each node by identity, the type; nodes live as long as the tree."""

    def __init__(self, source: str, schema: Schema, lists: Mapping[str, NamedList]) -> None:
        self._source = source
        self._schema = schema
        self._lists = lists
        self._patterns = 0
        self._pattern_steps = 0
        self.types: dict[int, Type] = {}

    def check(self, expression: Expression) -> None:
        """Raises ExpressionError unless the expression is true or false of any facts of the schema."""
        given = self._type(expression)
        if given == BOOLEANS:
            raise self._error("it has an answer for each item: wrap it in any(…) or all(…)", expression)
        if given != BOOLEAN:
            raise self._error(f"it is a {given}: compare it with something, as in … eq …", expression)

    def _error(self, message: str, node: Argument | Literal) -> ExpressionError:
        return error_at(message, self._source, node.at)

    def _type(self, node: Argument) -> Type:
        given = self._work_out(node)
        self.types[id(node)] = given
        return given

    def _work_out(self, node: Argument) -> Type:
        match node:
            case Combination(logic, clauses):
                first = self._condition(clauses[0])
                for clause in clauses[1:]:
                    if self._condition(clause) != first:
                        raise self._error(
                            f"{logic} joins an answer with one for each item: wrap the latter in any(…) or all(…)",
                            clause,
                        )
                return first
            case Not(clause):
                return self._condition(clause)
            case Comparison(left, operator, right):
                return self._answers(left, self._comparable(left, operator, right))
            case InSet(left, items):
                given = self._scalar(left, "in")
                for item in items:
                    self._fits(item, given, "is compared with")
                return self._answers(left, given)
            case InList(left, name):
                return self._answers(left, self._listed(left, name))
            case Field(name):
                declared = self._schema.fields.get(name)
                if declared is None:
                    raise self._unknown("field", name, self._schema.fields, node)
                return self._item(node, declared)
            case Call():
                return self._item(node, self._called(node))
            case Text():
                return STRING
            case Integer():
                return INTEGER

    def _condition(self, clause: Expression) -> Type:
        given = self._type(clause)
        if given not in (BOOLEAN, BOOLEANS):
            raise self._error(f"it is a {given}: compare it with something, as in … eq …", clause)
        return given

    def _answers(self, left: Value, _given: Type) -> Type:
        return BOOLEANS if EACH in left.keys else BOOLEAN

    def _scalar(self, left: Value, sign: str) -> Type:
        given = self._type(left)
        if given in (BOOLEAN, BOOLEANS):
            raise self._error("a boolean stands alone, or after not, without an operator", left)
        if isinstance(given, Array):
            raise self._error(f"{sign} can't take an {given}: choose items with [0] or [*]", left)
        if isinstance(given, Map):
            raise self._error(f'{sign} can\'t take a {given}: choose a key, as in ["name"]', left)
        return given

    def _comparable(self, left: Value, operator: Operator, right: Literal) -> Type:
        given = self._scalar(left, operator)
        if operator is Operator.BITWISE_AND and given != INTEGER:
            raise self._error(f"bitwise_and takes integers; this is of type {given}", left)
        if operator in _TEXT_OPERATORS and given != STRING:
            raise self._error(f"{operator} takes strings; this is of type {given}", left)
        if isinstance(right, IntegerRange | AddressRange | Network):
            raise self._error("a range stands in a set: write in {…}", right)
        self._fits(right, given, "is compared with")
        if isinstance(right, Text):
            self._readable(operator, right)
        return given

    def _readable(self, operator: Operator, right: Text) -> None:
        if operator is Operator.MATCHES:
            self._patterns += 1
            if self._patterns > MAX_PATTERNS:
                raise self._error(f"more than {MAX_PATTERNS} regular expressions", right)
            try:
                self._pattern_steps += check_pattern(right.value)
            except PatternError as error:
                raise self._error(str(error), right) from None
            if self._pattern_steps > MAX_PATTERN_STEPS:
                raise self._error(
                    f"regular expressions of {self._pattern_steps:,} steps a byte; at most {MAX_PATTERN_STEPS:,} "
                    "are possible: shorten repetitions such as {1000}",
                    right,
                )
        elif operator in (Operator.WILDCARD, Operator.STRICT_WILDCARD):
            try:
                check_wildcard(right.value)
            except WildcardError as error:
                raise self._error(str(error), right) from None

    def _fits(self, right: Literal, given: Type, verb: str) -> None:
        if _type_of(right) != given:
            raise self._error(f"a value of type {given} {verb} {_EXAMPLES[given]}", right)

    def _listed(self, left: Value, name: str) -> Type:
        given = self._scalar(left, "in")
        known = self._lists.get(name)
        if known is None:
            raise self._unknown("list", name, self._lists, left)
        if known.of != given:
            raise self._error(f"${name} is a list of type {known.of}; this is of type {given}", left)
        return given

    def _unknown(self, what: str, name: str, known: Collection[str], node: Argument) -> ExpressionError:
        near = get_close_matches(name, known, 1)
        hint = f"; near it is {near[0]}" if near else ""
        return self._error(f"there is no {what} {name}{hint}", node)

    def _item(self, value: Value, given: Type) -> Type:
        for key in value.keys:
            unfit = str if isinstance(given, Array) else int
            if isinstance(given, Array | Map) and not isinstance(key, unfit):
                given = given.of
            elif isinstance(given, Array):
                raise self._error(f"an {given} has positions, as in [0], or all of them: [*]", value)
            elif isinstance(given, Map):
                raise self._error(f'a {given} has keys, as in ["name"], or all of them: [*]', value)
            else:
                raise self._error(f"a {given} has no items to choose with [ ]", value)
        return given

    def _called(self, call: Call) -> Type:
        function = FUNCTIONS.get(call.name)
        if function is None:
            what = "function" if call.name not in self._schema.fields else "function, but a field,"
            raise self._unknown(what, call.name, FUNCTIONS, call)
        if len(call.args) < function.least or function.parameter(len(call.args) - 1) is None:
            raise self._error(f"write {usage(function)}", call)
        types: list[Type] = []
        for index, argument in enumerate(call.args):
            types.append(self._argument(function, index, argument))
        if function.name == "concat" and any(given != types[0] for given in types):
            raise self._error("concat takes strings or arrays, and not both", call)
        if function.name == "has_value" and isinstance(types[0], Array | Map) and types[0].of != types[1]:
            raise self._error(
                f"the values are of type {types[0].of}, and this one of type {types[1]}", call.args[1]
            )
        given = function.gives(types)
        return Array(given) if maps(call) else given

    def _argument(self, function: Function, index: int, argument: Argument) -> Type:
        parameter = function.parameter(index)
        assert parameter is not None  # noqa: S101 - the number of arguments is checked before
        given = self._type(argument)
        if index and isinstance(argument, Field | Call) and EACH in argument.keys:
            raise self._error("[*] can stand in the first argument only", argument)
        self._from(function, parameter, argument)
        if not parameter.accepts(given):
            raise self._error(
                f"{function.name} takes {parameter.types} as {parameter.name}; this is of type {given}",
                argument,
            )
        if isinstance(argument, Text | Integer):
            problem = parameter.problem(argument.value)
            if problem:
                raise self._error(f"{parameter.name} of {function.name}: {problem}", argument)
        return given

    def _from(self, function: Function, parameter: Parameter, argument: Argument) -> None:
        literal = isinstance(argument, Text | Integer)
        if parameter.source is Source.LITERAL and not literal:
            raise self._error(f"{parameter.name} of {function.name} is written out, as a literal", argument)
        if parameter.source is Source.FIELD and literal:
            raise self._error(
                f"{parameter.name} of {function.name} is a field or a function's result", argument
            )


def maps(call: Call) -> bool:
    """Whether the call is made for each item of its first argument."""
    first = call.args[0] if call.args else None
    return call.name not in ("any", "all") and isinstance(first, Field | Call) and EACH in first.keys


def usage(function: Function) -> str:
    names = [
        parameter.name if index < function.least else f"[{parameter.name}]"
        for index, parameter in enumerate(function.parameters)
    ]
    return f"{function.name}({', '.join(names)}{', …' if function.repeats else ''})"


_EXAMPLES: Final[Mapping[Type, str]] = {
    STRING: 'a string in quotes: "…"',
    INTEGER: "a number",
    ADDRESS: "an address, without quotes",
}


def _type_of(literal: Literal) -> Type:
    match literal:
        case Text():
            return STRING
        case Integer() | IntegerRange():
            return INTEGER
        case Address() | AddressRange() | Network():
            return ADDRESS
