"""`If-Match` and `If-None-Match`: change a document only if it is still the one that was read (RFC 9110, 13.1).

The entity tag of a document is its version, `"17"`.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers

from control.envelope import ApiError, Code
from storage.policy_records import NONE_IN_FORCE

_TAG: Final = re.compile(r'"?([1-9][0-9]{0,15})"?')


def entity_tag(version: int) -> str:
    return f'"{version}"'


def parse_expected(headers: Headers) -> int | None:
    """The version that has to be in force, NONE_IN_FORCE, or None: any. Raises ApiError(400)."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is None and none_match is None:
        return None
    if match is None:
        if none_match != "*":
            raise _wrong("If-None-Match", none_match or "", "`*` (make it only if there is none)")
        return NONE_IN_FORCE
    found = _TAG.fullmatch(match.strip())
    if found is None or none_match is not None:
        raise _wrong("If-Match", match, 'one version alone, such as `"17"`,')
    return int(found[1])


def _wrong(name: str, text: str, right: str) -> ApiError:
    return ApiError(400, Code.VALIDATION, f"{name}: {text[:40]!r}; {right} is right", name)
