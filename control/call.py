"""One request as a resource sees it, and the row of the address table that leads to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from control.envelope import ApiError, Code
from control.services import ControlServices
from model.identity import (
    DEFAULT_ACCOUNT,
    AccountId,
    InvalidName,
    NamespaceName,
    ScriptName,
    TenantId,
    parse_namespace_name,
    parse_script_name,
    parse_tenant_id,
)
from model.scripts import ScriptRef
from storage.control_records import ACCOUNT_OWNED, Owner
from storage.token_store import TokenRecord

T = TypeVar("T")

#: Of a request's body where an endpoint says nothing else.
SMALL_BODY: Final = 64 * 1024
_PATH = re.compile(r" - at `(key in )?\$\.?([^`]*)`$")


class Call:
    """`params` are the address's variables, decoded."""

    def __init__(
        self,
        services: ControlServices,
        request: Request,
        params: Mapping[str, str],
        body_bytes: int,
        token: TokenRecord | None,
    ) -> None:
        self.services = services
        self.store = services.store
        self.request = request
        self.params = params
        self.token = token
        self._body_bytes = body_bytes
        self._held = 0

    @cached_property
    def account(self) -> AccountId:
        return AccountId(self.params.get("account", DEFAULT_ACCOUNT))

    @cached_property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def namespace(self) -> NamespaceName | None:
        """Of the address; None where it has none: plain scripts. Raises ApiError(400)."""
        text = self.params.get("namespace")
        return None if text is None else named(parse_namespace_name, text, "")

    @property
    def required_namespace(self) -> NamespaceName:
        return named(parse_namespace_name, self.params["namespace"], "")

    @property
    def ref(self) -> ScriptRef:
        """The script of the address. Raises ApiError(400)."""
        return ScriptRef(self.namespace, named(parse_script_name, self.params["script"], ""))

    def flag(self, name: str) -> bool:
        """A query parameter `true` or `false` (the default). Raises ApiError(400)."""
        text = self.query.get(name, "false")
        if text not in ("true", "false"):
            raise ApiError(400, Code.VALIDATION, f"{name}: {text[:40]!r}; `true` or `false` is right", name)
        return text == "true"

    async def chunks(self, receive: Callable[[bytes], None]) -> None:
        """Give `receive` the body as it comes. Raises ApiError(413) beyond the endpoint's limit, LoadShed."""
        size = 0
        try:
            async for chunk in self.request.stream():
                size += len(chunk)
                if size > self._body_bytes:
                    raise too_large(self._body_bytes)
                self.services.bodies.take(len(chunk))
                self._held += len(chunk)
                if chunk:
                    receive(chunk)
        except ClientDisconnect as error:
            raise ApiError(400, Code.BODY, "the body ended before it was whole") from error

    def release(self) -> None:
        """It is answered: nothing of the body is needed any more."""
        self.services.bodies.give(self._held)
        self._held = 0

    async def body(self) -> bytes:
        """All of it. Raises ApiError(413)."""
        parts: list[bytes] = []
        await self.chunks(parts.append)
        return b"".join(parts)

    async def json(self, shape: type[T], field: str = "") -> T:
        """The body as `shape`, whatever its Content-Type: clients send some strange ones. Raises ApiError."""
        return decode_json(await self.body(), shape, field)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` is Starlette's form. `is_open`: answered without a token."""

    method: str
    path: str
    handler: Handler
    body_bytes: int = SMALL_BODY
    is_open: bool = False


def decode_json(data: bytes | str, shape: type[T], field: str = "") -> T:
    """JSON as `shape` (a msgspec type). Raises ApiError(400) that names the field; `field` is what `data` is."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        message = str(error)
        where = _PATH.search(message)
        path = where[2] if where else ""
        name = ".".join(part for part in (field, path) if part).replace(".[", "[")
        text = message[: where.start()] if where else message
        raise ApiError(
            400, Code.BODY, f"{name}: {text}" if name else f"body: {text}", name or "body"
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        name = field or "body"
        shown = str(error) if isinstance(error, msgspec.DecodeError) else "it is nested too deep"
        raise ApiError(
            400, Code.BODY, f"{name}: this is not JSON: {shown}; a JSON document is right", name
        ) from None


def named(parse: Callable[[str], T], text: str, field: str) -> T:
    """Parse a name with one of model.identity's functions. Raises ApiError(400)."""
    try:
        return parse(text)
    except InvalidName as error:
        message = f"{field}: {error}" if field else str(error)
        raise ApiError(400, Code.INVALID_NAME, message, field) from None


def parse_owner(tenant: str | None, namespace: str | None) -> Owner:
    """Both fields or neither. Raises ApiError(400)."""
    if tenant is None and namespace is None:
        return ACCOUNT_OWNED
    if tenant is None or namespace is None:
        missing = "tenant" if tenant is None else "namespace"
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{missing}: a tenant's resource needs both `tenant` and `namespace`; the account's has neither",
            missing,
        )
    owner: TenantId = named(parse_tenant_id, tenant, "tenant")
    return Owner(named(parse_namespace_name, namespace, "namespace"), owner)


def owner_fields(owner: Owner) -> dict[str, Any]:
    """As a resource's JSON shows it."""
    if owner.tenant is None:
        return {}
    return {"tenant": owner.tenant, "namespace": owner.namespace}


def too_large(limit: int) -> ApiError:
    # The rest of the body is not read, so the connection can't be used again.
    return ApiError(
        413,
        Code.TOO_LARGE,
        f"body: larger than the {limit} bytes that this address takes",
        "body",
        headers={"connection": "close"},
    )


def rfc3339(milliseconds: float) -> str:
    """UNIX milliseconds as Cloudflare writes times: `2026-11-24T17:53:17.123456Z`."""
    import datetime

    at = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_script_field(text: str, field: str) -> ScriptName:
    return named(parse_script_name, text, field)
