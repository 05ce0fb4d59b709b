"""The v4 envelope, around every answer; and the one table from what went wrong to status and code.

`{success, errors: [{code, message, source?}], messages, result, result_info?}`. `source.pointer` is the field.
Codes are Cloudflare's where it has one (wrangler acts on some: 10092, 10007, 10021, 10014, 10000); 20000 and
up are ours alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from model.errors import LoadShed, OperationError, OperationErrorCode, PlatformError
from storage.control_failures import ChangeRefused, Rule
from storage.failures import DiskFull, PlatformAway, StorageError
from storage.replication.entries import ReplicaBehind

#: An operation's message begins with the argument at fault, where one is.
_FIELD = re.compile(r"([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+)?): ")
JSON_TYPE: Final = "application/json"


class Code:
    """Error codes that are used in more than one place."""

    AUTHENTICATION: Final = 10000
    INTERNAL: Final = 10002
    NO_AUTHORIZATION: Final = 9106
    NO_USER: Final = 9109
    NO_ROUTE: Final = 7003
    METHOD: Final = 7001
    INVALID_NAME: Final = 10016
    VALIDATION: Final = 10021
    BODY: Final = 10026
    TOO_LARGE: Final = 10027
    KEY_NOT_FOUND: Final = 10009
    #: wrangler then takes a plain script for new, and uploads it with one PUT.
    SERVICE_MISSING: Final = 10090
    NO_WORKERS_DEV: Final = 10063
    D1_SQL: Final = 7500
    HOST: Final = 20000
    ROUTE_TIE: Final = 20002
    POLICY: Final = 20020
    #: In `messages` of a success: the policy was taken.
    POLICY_WARNING: Final = 20026
    MATERIAL: Final = 20027
    #: Several machines: the database that they share is away; this one's release is older than the platform's data.
    PLATFORM_AWAY: Final = 20034
    OLDER_RELEASE: Final = 20035


class ApiError(Exception):
    """A request that is not done. `field` is where in what was sent; "" when it is the address or a header."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        field: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = headers
        self.meta = meta


_RULES: Final[Mapping[Rule, tuple[int, int]]] = {
    Rule.NAMESPACE_MISSING: (404, 100119),
    Rule.NAMESPACE_EXISTS: (409, 100120),
    Rule.NAMESPACE_IN_USE: (409, 100121),
    Rule.SCRIPT_MISSING: (404, 10007),
    Rule.NAMESPACED_SCRIPT_MISSING: (404, 10092),
    Rule.SCRIPT_IN_USE: (409, 10064),
    Rule.BINDING_INVALID: (400, Code.VALIDATION),
    Rule.BINDING_MISSING: (404, 10056),
    Rule.INHERIT_INVALID: (400, 10057),
    Rule.NOT_THE_OWNER: (403, Code.VALIDATION),
    Rule.SECRET_MISSING: (404, 10056),
    Rule.ROUTE_MISSING: (404, 20001),
    Rule.ROUTE_TIE: (409, Code.ROUTE_TIE),
    Rule.HEADER_ROUTES_OFF: (400, 20003),
    Rule.HEADER_ROUTES_IN_USE: (409, 20004),
    Rule.HOSTNAME_MISSING: (404, 20005),
    Rule.KV_NAMESPACE_MISSING: (404, 10013),
    # 400, as elsewhere: the SDKs send a 409 again, twice.
    Rule.KV_TITLE_EXISTS: (400, 10014),
    Rule.KV_NAMESPACE_IN_USE: (409, 20006),
    Rule.QUEUE_MISSING: (404, 11000),
    Rule.QUEUE_EXISTS: (409, 11009),
    Rule.QUEUE_IN_USE: (409, 20007),
    Rule.D1_DATABASE_MISSING: (404, 7404),
    # 400, as with KV titles.
    Rule.D1_NAME_EXISTS: (400, 7502),
    Rule.D1_DATABASE_IN_USE: (409, 20008),
    Rule.CONSUMER_MISSING: (404, 11001),
    Rule.CONSUMER_EXISTS: (409, 11004),
    # 400, since the SDKs send a 409 again.
    Rule.PULL_CONSUMER_MISSING: (400, 20009),
    Rule.HANDLER_MISSING: (400, 10069),
    Rule.SCHEDULE_INVALID: (400, 10100),
    Rule.POLICY_MISSING: (404, 20021),
    Rule.POLICY_VERSION_MISSING: (404, 20022),
    Rule.POLICY_CHANGED: (412, 20023),
    Rule.MATERIAL_MISSING: (404, 20024),
    Rule.MATERIAL_IN_USE: (409, 20025),
    Rule.TENANT_MISSING: (404, 20030),
    Rule.TENANT_IN_USE: (409, 20031),
    Rule.TENANT_LEAVING: (409, 20032),
    # 403, since the SDKs send a 409 again: nothing changes by itself.
    Rule.QUOTA_EXCEEDED: (403, 20033),
}
_OPERATIONS: Final[Mapping[OperationErrorCode, tuple[int, int]]] = {
    OperationErrorCode.INVALID_ARGUMENT: (400, Code.VALIDATION),
    OperationErrorCode.LIMIT_EXCEEDED: (413, Code.TOO_LARGE),
    OperationErrorCode.NOT_FOUND: (404, Code.KEY_NOT_FOUND),
    OperationErrorCode.UNAVAILABLE: (503, Code.INTERNAL),
    OperationErrorCode.LOAD_SHED: (503, Code.INTERNAL),
    OperationErrorCode.TIMEOUT: (504, Code.INTERNAL),
}


def translate(error: Exception) -> ApiError | None:
    """What an error that the layers below raise on purpose means to who asked; None for anything else."""
    match error:
        case ApiError():
            return error
        case ChangeRefused():
            status, code = _RULES[error.rule]
            return ApiError(status, code, error.message, error.field)
        case OperationError():
            status, code = _OPERATIONS.get(error.code, (500, Code.INTERNAL))
            field = _FIELD.match(error.message)
            return ApiError(status, code, error.message, field[1] if field else "")
        case PlatformAway() | ReplicaBehind():
            code = Code.PLATFORM_AWAY if isinstance(error, PlatformAway) else Code.OLDER_RELEASE
            return ApiError(503, code, error.message, headers={"retry-after": "1"})
        case StorageError():
            status = 507 if isinstance(error, DiskFull) else 503
            return ApiError(status, Code.INTERNAL, error.message, headers={"retry-after": "1"})
        case RecursionError():
            return ApiError(400, Code.BODY, "body: it is nested too deep", "body")
        case LoadShed():
            retry = {"retry-after": str(error.retry_after_s or 1)}
            return ApiError(503, Code.INTERNAL, error.message, headers=retry)
        case PlatformError():
            return ApiError(error.status, Code.INTERNAL, error.message)
        case _:
            return None


def success(
    result: object,
    info: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    messages: Collection[Mapping[str, Any]] = (),
) -> Response:
    """`messages` are warnings: `{code, message, meta?}`."""
    content: dict[str, Any] = {"success": True, "errors": [], "messages": list(messages), "result": result}
    if info is not None:
        content["result_info"] = info
    return _response(content, status, None)


def failure(error: ApiError) -> Response:
    message = error.message
    if error.field and error.field not in message:
        message = f"{error.field}: {message}"
    shown: dict[str, Any] = {"code": error.code, "message": message}
    if error.field:
        shown["source"] = {"pointer": error.field}
    if error.meta:
        shown["meta"] = error.meta
    content = {"success": False, "errors": [shown], "messages": [], "result": None}
    return _response(content, error.status, error.headers)


def _response(content: object, status: int, headers: Mapping[str, str] | None) -> Response:
    response = Response(msgspec.json.encode(content), status, headers, JSON_TYPE)
    response.headers["cache-control"] = "no-store"
    return response
