"""Who asks: a bearer token, compared by hash."""

from __future__ import annotations

from collections.abc import Sequence

from control.envelope import ApiError, Code
from storage.token_store import ADMIN_SCOPE, TokenRecord, TokenStore

_TOKEN_BYTES = 512


def authenticate(tokens: TokenStore, headers: Sequence[bytes]) -> TokenRecord:
    """Given all Authorization headers of a request. Raises ApiError (401, 403): what is wrong with them."""
    if len(headers) != 1:
        raise _unauthorized(Code.NO_AUTHORIZATION, "send one header `Authorization: Bearer <token>`")
    scheme, _, token = headers[0].decode("latin-1").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized(
            Code.NO_AUTHORIZATION, "the Authorization header has another form; `Bearer <token>` is right"
        )
    found = tokens.verify(token) if len(token) <= _TOKEN_BYTES else None
    if found is None:
        raise _unauthorized(
            Code.AUTHENTICATION,
            "Authentication error: this host has no such token; DATA/admin-token holds one, and `tenantry token"
            " create --local` makes another",
        )
    if ADMIN_SCOPE not in found.scopes:
        raise ApiError(
            403, Code.AUTHENTICATION, f"this token's scopes don't allow it; {ADMIN_SCOPE!r} is needed"
        )
    return found


def _unauthorized(code: int, message: str) -> ApiError:
    return ApiError(401, code, message, headers={"www-authenticate": "Bearer"})
