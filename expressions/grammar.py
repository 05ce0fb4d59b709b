"""From text to nodes: an LALR grammar, so parsing takes no recursion and time in proportion to the text.

Which words can follow which is the grammar's; what the types allow is `checks`'s. The operators and their
precedence are Cloudflare's (not, and, xor, or), as are the escapes. Where this grammar is narrower than
theirs is listed in docs/expressions.md, and held by tests/expressions/test_oracle.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeVar, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from expressions import literals
from expressions.errors import ExpressionError, error_at
from expressions.syntax import (
    EACH,
    Argument,
    Call,
    Combination,
    Comparison,
    Each,
    Expression,
    Field,
    InList,
    InSet,
    Integer,
    Key,
    Literal,
    Logic,
    Node,
    Not,
    Operator,
    Text,
    Value,
)

# As Cloudflare has them: the length of an expression, and how many parentheses, `not` and calls stand within each
# other. We count the comparison of a call's result as one more, which theirs doesn't: checks and closures recurse,
# with at most four frames a level, and Python allows a thousand.
MAX_BYTES: Final = 4096
MAX_DEPTH: Final = 128

# Words end at a word boundary. A pattern in quotes may hold a quote within [ ], where the escapes are the
# regular expression's own, so it is a terminal apart; the lexer knows from the operator which of the two can come.
_GRAMMAR: Final = r"""
start: _or

_or: disjunction | _xor
disjunction: _xor (_OR _xor)+
_xor: exclusion | _and
exclusion: _and (_XOR _and)+
_and: conjunction | _unary
conjunction: _unary (_AND _unary)+
_unary: negation | group | _clause
negation: NOT _unary
group: OPEN _or ")"
_clause: comparison | matching | membership | listing | _value

comparison: _value COMPARES literal
          | _value BITAND literal
          | _value SEARCHES literal
matching: _value MATCHES (REGEX | RAW)
membership: _value _IN OPEN_SET item* "}"
listing: _value _IN LIST

_value: field | call
field: NAME key*
call: NAME OPEN [argument ("," argument)*] ")" key*
key: "[" (TEXT | INTEGER | STAR) "]"
?argument: _unary
         | TEXT -> text
         | RAW -> text
         | INTEGER -> integer
// Three rules for what looks like one: after a literal of a set another one can come, after others a word must.
?literal: TEXT -> text
        | RAW -> text
        | ATOM -> atom
?item: TEXT -> text
     | RAW -> text
     | ATOM -> atom
"""
_TERMINALS: Final = r"""
_OR: /or\b|\|\|/
_XOR: /xor\b|\^\^/
_AND: /and\b|&&/
NOT.3: /not\b|!/
COMPARES: /==|!=|<=|>=|<|>|(?:eq|ne|lt|le|gt|ge)\b/
BITAND: /&(?!&)|bitwise_and\b/
SEARCHES: /contains\b|wildcard\b|strict wildcard\b/
MATCHES: /~|matches\b/
_IN: /in\b/
OPEN: "("
OPEN_SET: "{"
STAR: "*"
LIST: /\$[a-z0-9_.]+/
NAME: /[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z0-9_]++)*+/
RAW.2: /r(?P<hashes>#{0,255}+)"(?s:.)*?"(?P=hashes)/
TEXT: /"(?:[^"\\]|\\(?s:.))*+"/
REGEX: /"(?:[^"\\\[]|\\(?s:.)|\[(?:[^\]\\]|\\(?s:.))*+\])*+"/
INTEGER: /-?[0-9][0-9A-Za-z]*+/
ATOM: /(?!r["#])[0-9A-Za-z:.\/-]++/
%ignore /[ \t\r\n]+/
"""

# What the parser was waiting for, in words. Terminals that are missing here follow from others that can come.
_WORDS: Final = {
    "NAME": "a field or function",
    "_AND": "and, or, xor",
    "COMPARES": "an operator (eq, ne, lt, le, gt, ge, contains, matches, wildcard, in)",
    "RPAR": ")",
    "RBRACE": "}",
    "RSQB": "]",
    "COMMA": ",",
    "OPEN_SET": "{…} or $list",
    "REGEX": "a pattern in quotes",
    "TEXT": "a string in quotes",
    "INTEGER": "a number",
    "ATOM": "a number or an address",
    "STAR": "*",
}


@v_args(inline=True)
class _Builder(Transformer[Token, Expression]):
    """Makes nodes as the parser reduces: there is no tree of tokens in between, and no walk over one."""

    def start(self, expression: Expression) -> Expression:
        return expression

    def disjunction(self, *clauses: Expression) -> Expression:
        return _combined(Logic.OR, clauses)

    def exclusion(self, *clauses: Expression) -> Expression:
        return _combined(Logic.XOR, clauses)

    def conjunction(self, *clauses: Expression) -> Expression:
        return _combined(Logic.AND, clauses)

    def negation(self, sign: Token, clause: Expression) -> Expression:
        return Not(clause, at=_at(sign), depth=_deeper(sign, clause))

    def group(self, opening: Token, inner: Expression) -> Expression:
        return replace(inner, depth=_deeper(opening, inner))

    def comparison(self, left: Value, sign: Token, right: Literal) -> Expression:
        return Comparison(left, _OPERATORS[str(sign)], right, at=left.at, depth=_around(left))

    def matching(self, left: Value, _sign: Token, spelling: Token) -> Expression:
        read = literals.raw if spelling.type == "RAW" else literals.pattern
        right = Text(read(spelling), at=_at(spelling))
        return Comparison(left, Operator.MATCHES, right, at=left.at, depth=_around(left))

    def membership(self, left: Value, _opening: Token, *items: Literal) -> Expression:
        return InSet(left, items, at=left.at, depth=_around(left))

    def listing(self, left: Value, name: Token) -> Expression:
        return InList(left, str(name)[1:], at=left.at, depth=_around(left))

    def field(self, name: Token, *keys: Key) -> Value:
        return Field(str(name), keys, at=_at(name))

    def call(self, name: Token, opening: Token, *rest: Argument | Key | None) -> Value:
        args = tuple(item for item in rest if isinstance(item, Node))
        keys = tuple(item for item in rest if isinstance(item, int | str | Each))
        return Call(str(name), args, keys, at=_at(name), depth=_deeper(opening, *args))

    def key(self, spelling: Token) -> Key:
        if spelling.type == "STAR":
            return EACH
        if spelling.type == "TEXT":
            return _meant(literals.quoted, spelling)
        index = _meant(literals.integer, spelling)
        if index < 0:
            raise _Misread("an index counts from 0 at the beginning", _at(spelling))
        return index

    def text(self, spelling: Token) -> Text:
        return Text(
            _meant(literals.raw if spelling.type == "RAW" else literals.quoted, spelling), at=_at(spelling)
        )

    def integer(self, spelling: Token) -> Integer:
        return Integer(_meant(literals.integer, spelling), at=_at(spelling))

    def atom(self, spelling: Token) -> Literal:
        return _meant(lambda text: literals.atom(text, _at(spelling)), spelling)


T = TypeVar("T")


class _Misread(Exception):
    """What a reduction found wrong; `parse` knows the source, and makes it an ExpressionError."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


_OPERATORS: Final = {operator.value: operator for operator in Operator} | {
    "==": Operator.EQ,
    "!=": Operator.NE,
    "<": Operator.LT,
    "<=": Operator.LE,
    ">": Operator.GT,
    ">=": Operator.GE,
    "&": Operator.BITWISE_AND,
}


def _around(left: Value) -> int:
    return left.depth + 1 if isinstance(left, Call) else 0


def _combined(logic: Logic, clauses: tuple[Expression, ...]) -> Expression:
    return Combination(logic, clauses, at=clauses[0].at, depth=max(clause.depth for clause in clauses))


def _at(token: Token) -> int:
    assert token.start_pos is not None  # noqa: S101 - tokens of a text have one
    return token.start_pos


def _deeper(token: Token, *inner: Argument) -> int:
    depth = 1 + max((node.depth for node in inner), default=0)
    if depth > MAX_DEPTH:
        raise _Misread(f"more than {MAX_DEPTH} parentheses, nots and calls within each other", _at(token))
    return depth


def _meant(read: Callable[[str], T], spelling: Token) -> T:
    try:
        return read(str(spelling))
    except literals.LiteralError as error:
        raise _Misread(error.message, _at(spelling) + error.offset) from None


_LOWER: Final = "operators are written in lower case"
# What is written when another language is meant, and what to write in this one.
_HINTS: Final = {
    **dict.fromkeys(("AND", "OR", "NOT", "XOR", "IN", "EQ", "NE", "CONTAINS", "MATCHES"), _LOWER),
    "not": "not stands before a condition, as in: not http.host in {…}",
    "is": "equality is eq or ==",
    "=": "equality is eq or ==",
    ",": "items of a set are separated by spaces",
    "'": 'strings are written in double quotes: "…"',
    "#": "there are no comments",
    "//": "there are no comments",
    "[": "an index follows a field or function without a space",
    "starts_with": "it is a function: starts_with(field, …)",
    "ends_with": "it is a function: ends_with(field, …)",
}
_WORD: Final = re.compile(r"[A-Za-z0-9_.]+|//|[^\sA-Za-z0-9_.]")

_PARSER: Final = Lark(
    _GRAMMAR + _TERMINALS, parser="lalr", lexer="contextual", transformer=_Builder(), maybe_placeholders=False
)


def parse(text: str, max_bytes: int = MAX_BYTES) -> Expression:
    """The nodes of `text`, whose names and types are not checked yet. Raises ExpressionError."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise error_at("this is no character of Unicode", text, error.start) from None
    if size > max_bytes:
        raise error_at(f"{size} bytes long; an expression has at most {max_bytes}", text, 0)
    if not text.strip(" \t\r\n"):
        raise error_at("the expression is empty: write a condition, as in: ssl", text, 0)
    try:
        # With a transformer, lark hands back what `start` made; its signature speaks of trees.
        return cast(Expression, _PARSER.parse(text))
    except _Misread as error:
        raise error_at(error.message, text, error.offset) from None
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None


def _unexpected(error: UnexpectedInput, text: str) -> ExpressionError:
    at: int | None = None
    expected: Collection[str] = ()
    if isinstance(error, UnexpectedToken):
        expected = error.accepts or error.expected
        at = None if error.token.type == "$END" else error.token.start_pos
    elif isinstance(error, UnexpectedCharacters):
        expected, at = error.allowed or (), error.pos_in_stream
    words = (
        " or ".join(word for name, word in _WORDS.items() if name in expected) or "the end of the expression"
    )
    if at is None:
        return error_at(f"the expression ends too early: here comes {words}", text, len(text))
    rest = text[at:]
    if rest.startswith(('"', 'r"', "r#")) and {"TEXT", "REGEX"} & set(expected):
        return error_at("the string has no closing quote", text, at)
    found = _WORD.match(rest)
    word = found[0] if found else rest[0]
    return error_at(f"{word} can't stand here: {_HINTS.get(word) or f'expected {words}'}", text, at)
