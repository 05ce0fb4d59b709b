"""The two ways of paging, and how they are asked for.

By page: `page`, `per_page`. Clients go on to the next page until `result` is empty, whatever the totals say, so
a page out of range is empty and no error. By cursor: `limit`, `cursor`; "" ends it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from control.envelope import ApiError, Code

DEFAULT_PER_PAGE: Final = 100
MOST_PER_PAGE: Final = 1_000
_MOST_PAGE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """`number` from 1."""

    number: int
    per_page: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.per_page

    def info(self, count: int, total: int) -> dict[str, Any]:
        return {
            "page": self.number,
            "per_page": self.per_page,
            "count": count,
            "total_count": total,
            "total_pages": -(-total // self.per_page),
        }


def parse_page(query: Mapping[str, str], default: int = DEFAULT_PER_PAGE) -> Page:
    """Raises ApiError(400) naming the parameter."""
    return Page(
        parse_number(query, "page", 1, _MOST_PAGE, 1),
        parse_number(query, "per_page", 1, MOST_PER_PAGE, default),
    )


def parse_number(query: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    """A query parameter. Raises ApiError(400)."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{name}: {text[:40]!r}; a whole number from {least} to {most} is right",
            name,
        )
    return int(text)


def encode_after(name: str) -> str:
    """A cursor that goes on after the row with this name."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def decode_after(cursor: str) -> str:
    """Raises ApiError(400)."""
    try:
        if len(cursor) > 1_024:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise ApiError(
            400, Code.VALIDATION, "cursor: not one that a listing gave; pass it on unchanged", "cursor"
        ) from None
