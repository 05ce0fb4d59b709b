"""Secrets, rate limits and data points."""

from __future__ import annotations

from typing import Final

from bindings.analytics import analytics_write
from bindings.contract.notes import OperationNotes, Rows
from bindings.rate_limit import KEY_BYTES as RATE_KEY_BYTES
from bindings.rate_limit import rate_limit_limit
from bindings.secret_store import secret_get
from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, POINTS
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind

SECRETS: Final[Rows] = (
    (
        OperationNotes(
            "secret.get",
            "Read the secret that the binding names.",
            (),
            "str",
            (
                (Code.NOT_FOUND, "it has no value"),
                (Code.UNAVAILABLE, "it can't be opened now"),
            ),
            (),
            BindingKind.SECRET_TEXT,
            wasi=("wasi:config/store#get",),
        ),
        secret_get,
    ),
)

RATE_LIMITS: Final[Rows] = (
    (
        OperationNotes(
            "rate_limit.limit",
            "Count one use of a key, if it is within the binding's limit. A key that has rested may use all of a "
            "period at once, then as much as comes back evenly.",
            (("options", "{key: str}"),),
            "{success: bool}; where it is false, nothing was counted",
            (),
            (
                f"a key {RATE_KEY_BYTES} bytes of UTF-8",
                "counted over all processes of a machine, with the tenant's other bindings of the same `namespace_id`, "
                "`limit` and `period`",
            ),
            BindingKind.RATE_LIMIT,
        ),
        rate_limit_limit,
    ),
)

ANALYTICS: Final[Rows] = (
    (
        OperationNotes(
            "analytics.write",
            "Write a data point to a dataset. Answers at once, and nobody waits for it: it can be queried a second or "
            "two later, and may be lost when the host is overloaded or a process dies.",
            (
                (
                    "point",
                    "{indexes?: [str], blobs?: [str | bin (UTF-8) | nil…], doubles?: [int | float…]}",
                ),
            ),
            "nil",
            (),
            (
                f"{POINTS} points an event",
                f"1 index of {INDEX_BYTES} bytes",
                f"{BLOBS} blobs, {BLOB_BYTES} bytes together",
                f"{DOUBLES} doubles, without NaN and infinities",
            ),
            BindingKind.ANALYTICS_ENGINE,
        ),
        analytics_write,
    ),
)
