"""Cloudflare's own parser takes what we take and refuses what we refuse, but for differences that are listed.

The oracle only parses: what expressions mean is held by the other tests of this folder.
"""

from __future__ import annotations

from typing import Final

import octorules_wirefilter as oracle
import pytest

from expressions.errors import ExpressionError
from expressions.filters import compile_filter
from expressions.formatting import formatted
from expressions.grammar import parse
from expressions.lists import addresses, integers, strings
from expressions.schema import ADDRESS, BOOLEAN, INTEGER, STRING, Array, Map, Schema, Type
from tests.expressions import test_functions, test_verdicts
from tests.expressions.corpus import BROKEN, DIFFERENT, WRITTEN

_SCALARS: Final[dict[str, Type]] = {"STRING": STRING, "INT": INTEGER, "BOOL": BOOLEAN, "IP": ADDRESS}


def _type(name: str) -> Type:
    outer, _, inner = name.partition("_")
    match outer:
        case "ARRAY":
            return Array(_type(inner))
        case "MAP":
            return Map(_type(inner.removeprefix("STRING_")))  # MAP_STRING_INT names the keys too
        case _:
            return _SCALARS[outer]


# The oracle takes this field too, but does not list it.
SCHEMA: Final = Schema(
    {
        **{field["name"]: _type(field["type"]) for field in oracle.get_schema_info()["fields"]},
        "http.request.uri.path": STRING,
    }
)
LISTS: Final = {
    "hosts": strings([]),
    "blocked.hosts": strings([]),
    "asns": integers([]),
    "office_network": addresses([]),
    "office": addresses([]),
    "cf.malware": addresses([]),
}


def _we_take(text: str) -> bool:
    try:
        compile_filter(text, SCHEMA, LISTS)
    except ExpressionError:
        return False
    return True


def _it_takes(text: str) -> bool:
    return "error" not in oracle.parse_expression(text)


def test_the_corpus_is_large() -> None:
    assert len(set(WRITTEN)) >= 150
    assert len(set(BROKEN)) >= 150
    assert not set(WRITTEN) & set(BROKEN)


@pytest.mark.parametrize("text", WRITTEN)
def test_both_take(text: str) -> None:
    assert _it_takes(text)
    compile_filter(text, SCHEMA, LISTS)


@pytest.mark.parametrize("text", BROKEN)
def test_both_refuse(text: str) -> None:
    assert not _it_takes(text)
    assert not _we_take(text)


@pytest.mark.parametrize(("text", "ours", "why"), DIFFERENT)
def test_difference_is_as_listed(text: str, ours: bool, why: str) -> None:
    assert why
    assert _we_take(text) is ours
    assert _it_takes(text) is not ours


@pytest.mark.parametrize("text", WRITTEN)
def test_oracle_takes_our_one_form_too(text: str) -> None:
    assert _it_takes(formatted(parse(text)))


# Fields of ours, and fields of the same type that the oracle knows.
_MAPPED: Final = {
    "tenant.plan": "http.user_agent",
    "tenant.tags": "http.request.headers.names",
    "limits": "cf.llm.prompt.custom_topic_categories",
}


def _mapped() -> list[str]:
    """The expressions of the tables of verdicts that fields of the oracle can stand for."""
    texts = []
    for name in ("COMPARED", "SETS", "WILDCARDS", "PATTERNS", "ITEMS", "STRINGS", "MISSING"):
        texts += [text for text, _verdict in getattr(test_verdicts, name)]
    texts += [row[0] for row in test_functions._TEXTS]
    texts += [row[0] for row in test_functions._OTHERS]
    for ours, theirs in _MAPPED.items():
        texts = [text.replace(ours, theirs) for text in texts]
    # The oracle has no map of strings and no array of booleans; its table of functions lacks some forms (DIFFERENT).
    lacking = (
        "params",
        "tenant.trials",
        "len(",
        "to_string(",
        "lookup_json",
        "substring(",
        "url_decode(",
        "has_value(cf",
        'encode_base64("hi")',
    )
    return sorted({text for text in texts if not any(part in text for part in lacking)})


@pytest.mark.parametrize("text", _mapped())
def test_oracle_takes_what_has_a_verdict(text: str) -> None:
    assert _we_take(text)
    assert _it_takes(text)
