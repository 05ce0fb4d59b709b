"""Names are parsed once: both edges of every rule, and messages that say what would be right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model import identity
from model.identity import InvalidName, new_ray_id

PARSERS: dict[str, tuple[Callable[[str], str], list[str], list[str]]] = {
    "account": (
        identity.parse_account_id,
        ["default", "A-b_9", "a" * 64],
        ["", "a" * 65, "a b", "a/b", "ä", "a\n"],
    ),
    "namespace": (
        identity.parse_namespace_name,
        ["production", "0-a_b", "_x", "a" * 63],
        ["", "a" * 64, "-a", "A", "a.b", "a/b", "..", "a\n"],
    ),
    "script": (
        identity.parse_script_name,
        ["hello", "a", "9", "a-", "a" * 63],
        ["", "a" * 64, "-a", "Hello", "a.b", "a/b", "../a", "a b", "a\n", "é"],
    ),
    "tenant": (
        identity.parse_tenant_id,
        ["acme", "user@example.com", "A.b-c_9", "a" * 128],
        ["", "a" * 129, ".a", "-a", "@a", "a b", "a/b", "a:b", "a\n"],
    ),
    "binding": (
        identity.parse_binding_name,
        ["KV", "_x", "$x", "a1", "a" * 128],
        ["", "a" * 129, "1a", "a-b", "a.b", "a b", "ä", "a\n"],
    ),
    "tag": (
        identity.parse_tag,
        ["tenant:acme", "with space", "ä", "a" * 128],
        ["", "a" * 129, "a,b", "a&b", "a\x00", "a\n"],
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, right, _) in PARSERS.items() for name in right]
)
def test_names_that_are_right(kind: str, name: str) -> None:
    assert PARSERS[kind][0](name) == name


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, _, wrong) in PARSERS.items() for name in wrong]
)
def test_names_that_are_wrong(kind: str, name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        PARSERS[kind][0](name)
    message = str(refused.value)
    assert kind in message
    assert "1 to" in message or "an identifier" in message
    assert len(message) < 250  # a name of a megabyte is not echoed


def test_ray_ids_are_16_hex_digits_and_differ() -> None:
    rays = {new_ray_id() for _ in range(1_000)}
    assert len(rays) == 1_000
    assert all(len(ray) == 16 and int(ray, 16) >= 0 for ray in rays)
