"""A schema and facts that the tests of expressions share."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from expressions.filters import compile_filter
from expressions.lists import NamedList, addresses, integers, strings
from expressions.schema import ADDRESS, BOOLEAN, INTEGER, STRING, Array, Map, Schema

SCHEMA: Final = Schema(
    {
        "ssl": BOOLEAN,
        "cf.bot_management.verified_bot": BOOLEAN,
        "cf.waf.score": INTEGER,
        "cf.edge.server_port": INTEGER,
        "cf.bot_management.detection_ids": Array(INTEGER),
        "http.host": STRING,
        "http.cookie": STRING,
        "http.referer": STRING,
        "http.user_agent": STRING,
        "http.request.method": STRING,
        "http.request.uri": STRING,
        "http.request.uri.path": STRING,
        "http.request.uri.query": STRING,
        "http.request.full_uri": STRING,
        "http.request.version": STRING,
        "http.request.body.raw": STRING,
        "http.request.body.size": INTEGER,
        "http.request.headers": Map(Array(STRING)),
        "http.request.headers.names": Array(STRING),
        "http.request.headers.values": Array(STRING),
        "http.request.cookies": Map(Array(STRING)),
        "http.request.uri.args": Map(Array(STRING)),
        "http.request.uri.args.names": Array(STRING),
        "http.request.body.multipart.names": Array(Array(STRING)),
        "http.request.timestamp.sec": INTEGER,
        "ip.src": ADDRESS,
        "ip.src.asnum": INTEGER,
        "ip.src.country": STRING,
        "tenant.plan": STRING,
        "tenant.tags": Array(STRING),
        "tenant.trials": Array(BOOLEAN),
        "params": Map(STRING),
        "limits": Map(INTEGER),
    }
)

FACTS: Final[Mapping[str, object]] = {
    "ssl": True,
    "cf.bot_management.verified_bot": False,
    "cf.waf.score": 42,
    "cf.edge.server_port": 443,
    "cf.bot_management.detection_ids": [3, 5, 5],
    "http.host": "www.Example.com",
    "http.cookie": "session=1; theme=dark",
    "http.user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "http.request.method": "POST",
    "http.request.uri": "/Admin/login.php?next=%2Fhome",
    "http.request.uri.path": "/Admin/login.php",
    "http.request.uri.query": "next=%2Fhome",
    "http.request.full_uri": "https://www.Example.com/Admin/login.php?next=%2Fhome",
    "http.request.version": "HTTP/2",
    "http.request.body.raw": '{"user": {"id": 7, "name": "née", "on": true}, "ids": [1, 20], "big": 1e3}',
    "http.request.body.size": 74,
    "http.request.headers": {"accept": ["text/html", "*/*"], "x-token": ["YWJj"], "x-empty": []},
    "http.request.headers.names": ["accept", "X-Token"],
    "http.request.headers.values": ["text/html", "*/*", "YWJj"],
    "http.request.cookies": {"session": ["1"], "theme": ["dark"]},
    "http.request.uri.args": {"filter": ["waf", "botm", "cdn"]},
    "http.request.uri.args.names": ["filter"],
    "http.request.body.multipart.names": [["a", "b"], [], ["c"]],
    "http.request.timestamp.sec": 1_700_000_000,
    "ip.src": ip_address("203.0.113.7"),
    "ip.src.asnum": 64_500,
    "ip.src.country": "PT",
    "tenant.plan": "pro",
    "tenant.tags": ("beta", "eu"),
    "tenant.trials": [True, False],
    "params": {"region": "eu", "café": "münchen", "bytes": b"\xffa\xc3".decode("utf-8", "surrogateescape")},
    "limits": {"cpu": 50, "memory": 128},
}

LISTS: Final[Mapping[str, NamedList]] = {
    "office": addresses([ip_network("203.0.113.0/24"), ip_address("2001:db8::1")]),
    "blocked.hosts": strings(["evil.example", "www.Example.com"]),
    "asns": integers([64_500, 64_501]),
}


def verdict(text: str, **changed: object) -> bool:
    """Of `text` about FACTS. `changed` has fields under names with __ for the dots; None takes one away."""
    facts = {**FACTS, **{name.replace("__", "."): value for name, value in changed.items()}}
    return compile_filter(text, SCHEMA, LISTS).matches(facts)
