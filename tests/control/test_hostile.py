"""Whatever is sent, a pure reader answers a value or an ApiError of the sender's fault, and nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control.call import decode_json
from control.envelope import ApiError
from control.host_check import HostRules, Refusal
from control.multipart import Part
from control.pagination import decode_after, encode_after
from control.route_request import RouteRequest, parse_route
from control.script_upload import choose_module
from control.upload_metadata import UploadMetadata, parse_metadata, plan_deployment, show_limits
from model.hostname import parse_pattern
from model.identity import DEFAULT_ACCOUNT, ScriptName
from model.paths import normalise_prefix
from model.scripts import BindingKind, Route, ScriptRef
from storage.script_records import Deployment


@contextlib.contextmanager
def at_fault() -> Iterator[None]:
    """Lets an ApiError pass that says that the sender was wrong, and what was."""
    try:
        yield
    except ApiError as error:
        shown = error
    else:
        return
    assert 400 <= shown.status < 500
    assert shown.message


REF = ScriptRef(None, ScriptName("shop"))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
words = st.sampled_from([*BindingKind, "inherit", "r2", "KV", "a-b", "shop", "prod", "x" * 6000, ""])


def of(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Maps with some of these keys, and values that may be right or anything."""
    return st.dictionaries(st.sampled_from(names), words | values, max_size=len(names))


bindings = st.lists(
    of(
        "type",
        "name",
        "text",
        "json",
        "namespace_id",
        "queue_name",
        "service",
        "namespace",
        "shared",
        "outbound",
    ),
    max_size=4,
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "main_module": words | values,
        "tenant": words | values,
        "tags": st.lists(words, max_size=10) | values,
        "bindings": bindings | values,
        "keep_bindings": st.lists(words, max_size=3) | values,
        "limits": of("cpu_ms", "memory_mb", "subrequests", "cpu") | values,
        "compatibility_flags": st.lists(words, max_size=3) | values,
        "compatibility_date": words | values,
    },
)


@given(metadata | values)
@settings(max_examples=300, deadline=None)
def test_metadata(document: object) -> None:
    with at_fault():
        deployment = plan_deployment(DEFAULT_ACCOUNT, REF, parse_metadata(json.dumps(document).encode()))
        check_deployment(deployment)


def check_deployment(deployment: Deployment) -> None:
    assert len(deployment.tags) <= 8
    named = [binding.name for binding in deployment.bindings.requested]
    assert len(set(named)) == len(named)
    assert set(deployment.secret_texts) <= set(named)
    assert set(show_limits(deployment.limits)) <= {"cpu_ms", "memory_mb", "subrequests"}


@given(st.binary(max_size=200))
def test_bytes_that_may_be_json(data: bytes) -> None:
    for shape in (UploadMetadata, list[str], dict[str, int]):
        with at_fault():
            decode_json(data, shape)


hostnames = st.sampled_from(
    ["a.example.com", "*.example.com", "*", "*.com", "a b", "bücher.example"]
) | st.text(max_size=30)
prefixes = st.none() | st.text("/.%aA2fF~?#é ", max_size=12)


@given(hostnames, prefixes, st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3))
@settings(max_examples=300, deadline=None)
def test_routes_have_one_spelling(hostname: str, prefix: str | None, headers: list[tuple[str, str]]) -> None:
    document = {
        "hostname": hostname,
        "path_prefix": prefix,
        "headers": [{"name": name, "value": value} for name, value in headers],
        "target": {"script": "shop"},
    }
    with at_fault():
        check_route(parse_route(decode_json(json.dumps(document), RouteRequest)))


def check_route(route: Route) -> None:
    assert parse_pattern(route.pattern) == route.pattern
    assert route.path_prefix == "" or route.path_prefix.startswith("/")
    assert not route.path_prefix.endswith("/")
    assert list(route.headers) == sorted(set(route.headers))
    # What routes are compared by must be what ties are found by.
    assert normalise_prefix(route.path_prefix) == route.path_prefix


@given(st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=2))
def test_hosts_and_origins(host: bytes, origins: list[bytes]) -> None:
    rules = HostRules.of_listener("127.0.0.1", 8788)
    assert rules.check([host], origins) in (Refusal.HOST, Refusal.ORIGIN, None)


@given(st.text(max_size=30), st.text(max_size=60))
def test_cursors(name: str, other: str) -> None:
    assert decode_after(encode_after(name)) == name
    with at_fault():
        decode_after(other)


parts = st.builds(
    Part,
    name=words,
    file_name=st.none() | words,
    content_type=st.sampled_from(["", "application/wasm", "application/javascript+module", "text/plain"]),
    data=st.sampled_from([b"", b"\0asm\1\0\0\0", b"export default {}"]),
)


@given(st.lists(parts, max_size=4), st.none() | words, st.none() | words)
def test_the_chosen_part_is_one_that_was_sent_and_no_script(
    sent: list[Part], main_module: str | None, wasm_main: str | None
) -> None:
    with at_fault():
        chosen = choose_module(sent, UploadMetadata(main_module=main_module, wasm_main=wasm_main))
        assert chosen in sent
        assert "javascript" not in chosen.content_type or chosen.data[:4] == b"\0asm"
