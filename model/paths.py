"""One spelling of a request's path, for comparing it with the prefixes of routes. Pure.

The worker gets the path as it was sent; only routing uses this spelling. Whatever two spellings a careful
origin would treat as one path must not reach two different workers, and `..` must not step out of a prefix.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ENCODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
#: Longer paths are not kept in the cache: 4,096 of them would be a visitor's to fill.
_CACHED_LENGTH: Final = 256


def normalise_path(path: str) -> str:
    """`path` with unreserved bytes decoded, percent-encodings in upper case and dot segments removed.

    `%2F` stays, since a slash that is data is no border; a backslash is a byte like any other; empty
    segments (`//`) stay; `%` without two hex digits stays. Decoding happens once: `%252e` becomes no dot.
    A path that does not begin with "/" (`*`) is returned as it is.
    Source: RFC 3986 §6.2.2.1 to §6.2.2.3 and §5.2.4.
    """
    # Nearly every path is in its one spelling already; these two searches cost 60 ns.
    if "%" not in path and "/." not in path:
        return path
    if len(path) <= _CACHED_LENGTH:
        return _normalise_cached(path)
    return _normalise(path)


def normalise_prefix(prefix: str) -> str:
    """A route's path prefix in the spelling that paths are compared with.

    Without a "/" at its end, since `/api/` and `/api` are one border; "" and "/" both match every path.
    """
    return normalise_path(prefix).rstrip("/")


def has_prefix(path: str, prefix: str) -> bool:
    """Whether normalised `path` is `prefix` or below it: `/api` has `/api` and `/api/x`, not `/apifoo`."""
    return path.startswith(prefix) and (not prefix or len(path) == len(prefix) or path[len(prefix)] == "/")


def _decode(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def remove_dot_segments(path: str) -> str:
    """RFC 3986 §5.2.4; `path` begins with "/"."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")  # "/a/." and "/a/b/.." are the folder "/a/"
    return "/" + "/".join(kept)


def _normalise(path: str) -> str:
    if not path.startswith("/"):
        return path
    # Decoding comes first: `%2e%2e` is a dot segment too.
    return remove_dot_segments(_ENCODED.sub(_decode, path))


_normalise_cached = lru_cache(maxsize=4_096)(_normalise)
