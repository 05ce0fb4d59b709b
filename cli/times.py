"""Times as command lines give them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from cli.errors import BadUsage

_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def unix_ms_text(text: str | None, flag: str, now_s: float) -> str | None:
    """UNIX milliseconds as text. Raises BadUsage."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return str(max(0, int((now_s - int(ago[1]) * _UNITS[ago[2]]) * 1000)))
    try:
        return str(int(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise BadUsage(f"{flag} {text[:40]!r}: 30m, 6h, 2d, or a time such as 2026-11-24T17:53:17Z") from None
