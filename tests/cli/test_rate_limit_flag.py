"""`--rate-limit NAME=LIMIT/SECONDS[/ID]` becomes a binding, or says what would be right."""

from __future__ import annotations

import pytest

from cli.deployment import parse_rate_limit
from cli.errors import BadUsage


@pytest.mark.parametrize(("text", "namespace_id"), [("100/60", "LOGINS"), ("100/60/shared", "shared")])
def test_what_is_right(text: str, namespace_id: str) -> None:
    assert parse_rate_limit("LOGINS", text) == {
        "type": "ratelimit",
        "name": "LOGINS",
        "namespace_id": namespace_id,
        "simple": {"limit": 100, "period": 60},
    }


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/60", "a/60", "100/b", "1.5/60", "-1/60", "1234567890/60", "\u0665/60"]
)
def test_what_is_wrong_is_shown_with_what_is_right(text: str) -> None:
    with pytest.raises(BadUsage, match="LOGINS=100/60"):
        parse_rate_limit("LOGINS", text)
