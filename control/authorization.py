"""What a token may do beyond speaking to the API at all. Pure."""

from __future__ import annotations

from control.envelope import ApiError, Code
from storage.token_store import ADMIN_SCOPE, TokenRecord


def require_platform(token: TokenRecord | None, field: str, what: str) -> None:
    """Only the platform's own token may do `what`. Raises ApiError(403)."""
    if token is None or ADMIN_SCOPE not in token.scopes:
        raise ApiError(
            403,
            Code.AUTHENTICATION,
            f"{field}: {what} needs a token of the platform, with the scope {ADMIN_SCOPE!r}",
            field,
        )
