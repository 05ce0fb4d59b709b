"""What a rule's expression costs a request: seven clauses, all of them true, over forty facts.

Against the same condition written in Python by hand, and against Google's CEL for Python. All in one process, in
turns, by CPU time; the facts are made once, and each side has them in the form it likes best.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from statistics import median
from typing import Any, Final

from benchmarks import peers
from benchmarks.figures import Figure, from_ratios
from benchmarks.peers import PeerMissing
from expressions.filters import compile_filter
from expressions.schema import ADDRESS, INTEGER, STRING, Array, Map, Schema

_ROUNDS: Final = 40
_EVALUATIONS: Final = 5_000

_EXPRESSION: Final = """
http.host eq "api.example.com"
and http.request.method in {"POST" "PUT"}
and starts_with(http.request.uri.path, "/v1/")
and http.request.headers["content-type"][0] contains "json"
and tenant.plan in {"pro" "team"}
and http.request.body.size lt 65536
and not http.user_agent contains "curl"
"""
# Names with dots are members to CEL, so its variables have none.
_IN_CEL: Final = """
host == "api.example.com"
&& method in ["POST", "PUT"]
&& path.startsWith("/v1/")
&& "content-type" in headers && headers["content-type"][0].contains("json")
&& plan in ["pro", "team"]
&& size < 65536
&& !agent.contains("curl")
"""
_HEADERS: Final = {"content-type": ["application/json"], "accept": ["*/*"], "authorization": ["Bearer abc"]}
_FACTS: Final[Mapping[str, object]] = {
    "http.host": "api.example.com",
    "http.request.method": "POST",
    "http.request.uri.path": "/v1/orders",
    "http.request.headers": _HEADERS,
    "tenant.plan": "pro",
    "http.request.body.size": 1_024,
    "http.user_agent": "tenantry-bench",
    "ip.src": ip_address("203.0.113.7"),
    **{f"params.p{number}": f"value {number}" for number in range(32)},
}
_SCHEMA: Final = Schema(
    {
        **dict.fromkeys(_FACTS, STRING),
        "http.request.headers": Map(Array(STRING)),
        "http.request.body.size": INTEGER,
        "ip.src": ADDRESS,
    }
)


def expressions() -> list[Figure]:
    judge = compile_filter(_EXPRESSION, _SCHEMA).matches
    ours, by_hand, ratios = _in_turns(lambda: judge(_FACTS), lambda: _by_hand(_FACTS))
    figures = [
        from_ratios(
            "an expression of seven clauses, judged",
            "the same in Python by hand",
            ratios,
            4,
            at_least=False,
            note=f"{ours:.2f} against {by_hand:.2f} µs; made from its text in {_compile_us():.0f} µs",
        )
    ]
    try:
        in_cel = _cel()
    except PeerMissing as reason:
        print(f"the row against CEL is skipped: {reason}", flush=True)
        return figures
    ours, theirs, ratios = _in_turns(lambda: judge(_FACTS), in_cel)
    speeds = [1 / ratio for ratio in ratios]
    figures.append(
        from_ratios(
            "speed of an expression of seven clauses",
            f"cel-expr-python {peers.CEL_VERSION}",
            speeds,
            8,
            at_least=True,
            note=f"{ours:.2f} against {theirs:.2f} µs",
        )
    )
    return figures


def _by_hand(facts: Mapping[str, Any]) -> bool:
    path, size, agent = (
        facts.get("http.request.uri.path"),
        facts.get("http.request.body.size"),
        facts.get("http.user_agent"),
    )
    types = facts.get("http.request.headers", {}).get("content-type")
    return (
        facts.get("http.host") == "api.example.com"
        and facts.get("http.request.method") in {"POST", "PUT"}
        and path is not None
        and path.startswith("/v1/")
        and bool(types)
        and "json" in types[0]
        and facts.get("tenant.plan") in {"pro", "team"}
        and size is not None
        and size < 65_536
        and not (agent is not None and "curl" in agent)
    )


def _cel() -> Callable[[], bool]:
    folder = str(peers.cel())
    if folder not in sys.path:
        sys.path.append(folder)  # last: what both have is ours
    cel = importlib.import_module("cel_expr_python.cel")
    text, of = cel.Type.STRING, cel.Type
    types = {
        **dict.fromkeys(("host", "method", "path", "plan", "agent"), text),
        "headers": of.Map(text, of.List(text)),
        "size": of.INT,
        **{f"p{number}": text for number in range(32)},
    }
    facts: dict[str, object] = {
        "host": _FACTS["http.host"],
        "method": _FACTS["http.request.method"],
        "path": _FACTS["http.request.uri.path"],
        "headers": _HEADERS,
        "plan": _FACTS["tenant.plan"],
        "size": _FACTS["http.request.body.size"],
        "agent": _FACTS["http.user_agent"],
        **{f"p{number}": f"value {number}" for number in range(32)},
    }
    expression = cel.NewEnv(variables=types).compile(_IN_CEL)
    return lambda: bool(expression.eval(data=facts).value())


def _in_turns(one: Callable[[], bool], other: Callable[[], bool]) -> tuple[float, float, list[float]]:
    """Median µs of both, and the ratio of each round."""
    assert one() is other() is True
    ones: list[float] = []
    others: list[float] = []
    for number in range(_ROUNDS):
        for side, spent in ((one, ones), (other, others)) if number % 2 else ((other, others), (one, ones)):
            started = time.thread_time_ns()
            for _ in range(_EVALUATIONS):
                side()
            spent.append((time.thread_time_ns() - started) / _EVALUATIONS / 1_000)
    return median(ones), median(others), [a / b for a, b in zip(ones, others, strict=True)]


def _compile_us() -> float:
    spent = []
    for _ in range(50):
        started = time.thread_time_ns()
        compile_filter(_EXPRESSION, _SCHEMA)
        spent.append((time.thread_time_ns() - started) / 1_000)
    return median(spent)
