"""Who a token is, and the accounts there are: what clients ask before anything else."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT, API


async def verify_token(call: Call) -> Response:
    if call.token is None:
        raise ApiError(401, Code.NO_AUTHORIZATION, "send one header `Authorization: Bearer <token>`")
    return success({"id": call.token.id, "status": "active", "name": call.token.name})


async def user(call: Call) -> Response:
    """What clients take to mean: go on, without an e-mail address."""
    raise ApiError(
        403, Code.NO_USER, "a token here is no user's; `GET /client/v4/user/tokens/verify` says which it is"
    )


async def memberships(call: Call) -> Response:
    """Clients then ask for the accounts."""
    raise ApiError(
        403, Code.AUTHENTICATION, "a token here is no user's; `GET /client/v4/accounts` lists them"
    )


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    accounts = sorted(call.services.accounts)
    shown = accounts[page.offset : page.offset + page.per_page]
    return success([_show(account) for account in shown], page.info(len(shown), len(accounts)))


async def get(call: Call) -> Response:
    return success(_show(call.account))


def _show(account: str) -> dict[str, Any]:
    return {"id": account, "name": account, "type": "standard"}


ENDPOINTS = [
    Endpoint("GET", f"{API}/user/tokens/verify", verify_token),
    Endpoint("GET", f"{API}/user", user),
    Endpoint("GET", f"{API}/memberships", memberships),
    Endpoint("GET", f"{API}/accounts", list_all),
    Endpoint("GET", ACCOUNT, get),
]
