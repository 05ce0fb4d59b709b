"""A data point as a worker writes it, with the bounds that Cloudflare documents for Analytics Engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from model.identity import InvalidName

#: Of one event.
POINTS: Final = 250
INDEX_BYTES: Final = 96
BLOBS: Final = 20
#: Of all blobs of a point together.
BLOB_BYTES: Final = 16 * 1024
DOUBLES: Final = 20

#: It stands in a query where SQL has a table.
_DATASET: Final = re.compile(r"(?!sqlite_)[A-Za-z_][A-Za-z0-9_]{0,63}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DataPoint:
    """Texts are UTF-8; doubles are finite. `size` is what index and blobs take, in bytes."""

    index: str
    blobs: tuple[str, ...]
    doubles: tuple[float, ...]
    size: int


def parse_dataset_name(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise InvalidName(
            f"dataset {text[:80]!r}: 1 to 64 letters, digits and '_', no digit and no `sqlite_` first"
        )
    return text
