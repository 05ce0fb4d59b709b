"""What the runtime serves by itself."""

from __future__ import annotations

from typing import Final

from bindings.contract.notes import OperationNotes
from model.errors import OperationErrorCode as Code

#: What the runtime serves by itself, since it is about the event and not about anything lent.
RUNTIME_OPERATIONS: Final[tuple[OperationNotes, ...]] = (
    OperationNotes(
        "stream.read",
        "Read from a stream; waits for at least one byte.",
        (("stream", "stream id"), ("max", "int (bytes, 1 or more)")),
        "bin of 1 to `max` bytes, at most 256 KiB; nil at the end",
        (
            (Code.CLOSED_STREAM, "closed, handed on, or its sender broke off"),
            (Code.UPSTREAM_FAILED, "the origin that feeds it failed"),
        ),
        ("128 streams open in one event",),
        wasi=("wasi:io/streams#input-stream.read",),
    ),
    OperationNotes(
        "stream.close",
        "Let go of a stream; what is left of it is not read. One of stream.open breaks off for its reader.",
        (("stream", "stream id"),),
        "nil",
        ((Code.CLOSED_STREAM, "closed or handed on before"),),
        wasi=("wasi:io/streams#input-stream",),
    ),
    OperationNotes(
        "stream.open",
        "Make a stream that this worker writes, to be given as a body or a value.",
        (),
        "stream id",
        wasi=("wasi:http/types#outgoing-body.write",),
    ),
    OperationNotes(
        "stream.write",
        "Write to a stream of stream.open; waits while its reader is slow.",
        (("stream", "stream id"), ("data", "bin | str")),
        "nil",
        ((Code.CLOSED_STREAM, "ended, or its reader went away"),),
        wasi=("wasi:io/streams#output-stream.write",),
    ),
    OperationNotes(
        "stream.end",
        "End a stream of stream.open.",
        (("stream", "stream id"),),
        "nil",
        ((Code.CLOSED_STREAM, "ended before, or its reader went away"),),
        wasi=("wasi:http/types#outgoing-body.finish",),
    ),
    OperationNotes(
        "response.start",
        "Begin the response; once an event.",
        (("status", "int"), ("headers", "[[name: str, value: str | bin]…]")),
        "nil",
        (
            (Code.INVALID_ARGUMENT, "started before, or the event has no visitor"),
            (Code.CLOSED_STREAM, "the visitor left"),
        ),
        ("`content-length` is held to what is written; hop-by-hop headers are refused",),
        wasi=("wasi:http/types#response-outparam.set",),
    ),
    OperationNotes(
        "response.write",
        "Write a part of the body; waits while the visitor is slow.",
        (("data", "bin | str"),),
        "nil",
        ((Code.CLOSED_STREAM, "the visitor left, or the response has ended"),),
        wasi=("wasi:io/streams#output-stream.write",),
    ),
    OperationNotes(
        "response.end",
        "End the response; the worker may go on in the background.",
        (),
        "nil",
        ((Code.CLOSED_STREAM, "the visitor left, or the response has ended"),),
        wasi=("wasi:http/types#outgoing-body.finish",),
    ),
    OperationNotes(
        "visitor.left",
        "Wait for the visitor to leave before the response has ended; a worker that waits so is not ended by it.",
        (),
        "nil",
        (
            (Code.INVALID_ARGUMENT, "the event has no visitor"),
            (Code.CLOSED_STREAM, "the response has ended"),
        ),
        ("it stays pending when the response ends; cancelling it gives the promise back",),
    ),
    OperationNotes(
        "sleep",
        "Wait.",
        (("ms", "int (0 to 900000)"),),
        "nil",
        wasi=("wasi:clocks/monotonic-clock#subscribe-duration",),
    ),
)
