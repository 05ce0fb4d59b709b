"""A route as it was asked for → a model.scripts.Route in its one spelling. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from control.call import named, parse_script_field
from control.envelope import ApiError, Code
from model.hostname import InvalidHostname, parse_pattern
from model.identity import parse_namespace_name
from model.scripts import Route, ScriptRef, Target

MOST_CONDITIONS: Final = 8
_PREFIX_LENGTH: Final = 1_024
# Unreserved, sub-delims, ":" and "@" of RFC 3986, and encodings of anything that isn't unreserved, in upper case.
_PREFIX = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*")
_NEEDLESS = re.compile(r"%(?:2D|2E|5F|7E|3[0-9]|[46][1-9A-F]|[57][0-9A])")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")
_HOOK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class HeaderCondition(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: str


class RouteTarget(msgspec.Struct, forbid_unknown_fields=True):
    namespace: str | None = None
    script: str | None = None
    hook: str | None = None


class RouteRequest(msgspec.Struct, forbid_unknown_fields=True):
    hostname: str
    target: RouteTarget
    path_prefix: str | None = None
    headers: list[HeaderCondition] | None = None


def parse_route(request: RouteRequest, route_id: str = "") -> Route:
    """Raises ApiError(400) naming the field."""
    return Route(
        route_id,
        parse_route_pattern(request.hostname, "hostname"),
        _parse_prefix(request.path_prefix or ""),
        _parse_conditions(request.headers or []),
        _parse_target(request.target),
    )


def parse_route_pattern(text: str, field: str) -> str:
    """Raises ApiError(400)."""
    try:
        return parse_pattern(text)
    except InvalidHostname as error:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{field}: {text[:80]!r} is no hostname: {error}; `shop.example.com`, `*.example.com` or `*` is right",
            field,
        ) from None


def _parse_prefix(prefix: str) -> str:
    """Paths are compared after decoding, so a prefix is refused that no path would be spelled like."""
    if prefix == "":
        return ""
    path = prefix.rstrip("/")
    if (
        len(prefix) > _PREFIX_LENGTH
        or not _PREFIX.fullmatch(prefix)
        or _NEEDLESS.search(path)
        or any(segment in (".", "..") for segment in path.split("/"))
    ):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"path_prefix: {prefix[:80]!r}; a path that begins with '/', without query, '.' and '..' segments and"
            f" needless %-encoding, at most {_PREFIX_LENGTH} characters, is right: `/api/v1`",
            "path_prefix",
        )
    return path


def _parse_conditions(headers: list[HeaderCondition]) -> tuple[tuple[str, str], ...]:
    if len(headers) > MOST_CONDITIONS:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"headers: {len(headers)} conditions; at most {MOST_CONDITIONS} are allowed",
            "headers",
        )
    conditions: dict[str, str] = {}
    for index, header in enumerate(headers):
        field = f"headers[{index}]"
        name = header.name.lower()
        if not _HEADER_NAME.fullmatch(header.name):
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}.name: {header.name[:80]!r} is no header name",
                f"{field}.name",
            )
        if name in conditions:
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}.name: {name!r} is there twice; a condition wants exactly one occurrence",
                f"{field}.name",
            )
        if not _HEADER_VALUE.fullmatch(header.value):
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}.value: {header.value[:80]!r}; 1 to 1,024 printable ASCII characters, no blank at the ends,"
                " are right",
                f"{field}.value",
            )
        conditions[name] = header.value
    return tuple(sorted(conditions.items()))


def _parse_target(target: RouteTarget) -> Target:
    if (target.script is None) == (target.hook is None) or (target.hook is not None and target.namespace):
        raise ApiError(
            400,
            Code.VALIDATION,
            "target: one of {namespace, script}, {script} (a plain script) and {hook} is right",
            "target",
        )
    if target.hook is not None:
        if not _HOOK.fullmatch(target.hook):
            raise ApiError(
                400,
                Code.VALIDATION,
                f"target.hook: {target.hook[:80]!r}; letters, digits, '_', '.' and '-' are right",
                "target.hook",
            )
        return Target(hook=target.hook)
    namespace = (
        None
        if target.namespace is None
        else named(parse_namespace_name, target.namespace, "target.namespace")
    )
    return Target(script=ScriptRef(namespace, parse_script_field(target.script or "", "target.script")))
