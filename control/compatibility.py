"""What an upload says it was written for: `compatibility_date` and `compatibility_flags`, given back as they came.

No behaviour here depends on a date, and of flags only a worker in JavaScript has any that mean something
(docs/javascript.md): others are a client's habit, and are no error.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from control.envelope import ApiError, Code
from model.scripts import ScriptVersion
from runtime.javascript.bundle import MOST_FLAG_BYTES, MOST_FLAGS


def show_compatibility(version: ScriptVersion) -> dict[str, object]:
    """As every answer about a script has it."""
    return {
        "compatibility_date": version.compatibility_date or None,
        "compatibility_flags": list(version.compatibility_flags),
    }


def parse_date(text: str | None) -> str:
    """ "" for none. Pure. Raises ApiError(400)."""
    if text is None or text == "":
        return ""
    try:
        # isoformat: others spell a date as 20260101 or 2026-W01-1, which no client of Cloudflare's does.
        is_date = date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_date = False
    if not is_date:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"compatibility_date: {text[:64]!r}; a date as 2026-11-01 is right",
            "compatibility_date",
        )
    return text


def parse_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """Each once. Pure. Raises ApiError(400)."""
    kept = tuple(dict.fromkeys(flags))
    if len(kept) > MOST_FLAGS or any(len(flag.encode("utf-8", "replace")) > MOST_FLAG_BYTES for flag in kept):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"compatibility_flags: at most {MOST_FLAGS}, of {MOST_FLAG_BYTES} bytes each, are allowed",
            "compatibility_flags",
        )
    return kept
