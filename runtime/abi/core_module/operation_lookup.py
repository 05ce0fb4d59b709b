"""Which operation a guest means by a name, and what its binding lends it. Pure."""

from __future__ import annotations

from model.capabilities import Operation, OperationTable, WorkerEnv
from model.errors import OperationError, OperationErrorCode


def find(table: OperationTable, env: WorkerEnv, name: str, binding: object) -> tuple[Operation, object]:
    """The operation, and the value of `binding` that it wants, None where it wants none.

    `binding` is as the guest sent it. Raises OperationError: unknown_operation, unknown_binding.
    """
    operation = table.get(name)
    if operation is None:
        raise OperationError(
            OperationErrorCode.UNKNOWN_OPERATION,
            f"there is no operation {name[:60]!r}; see docs/bindings.md",
        )
    kind = operation.binding_kind
    if kind is None:
        return operation, None
    bound = env.bindings.get(binding) if isinstance(binding, str) else None
    if bound is None or bound.kind != kind:
        raise OperationError(
            OperationErrorCode.UNKNOWN_BINDING,
            f"{name}: this worker has no {kind} binding {binding!r:.60}",
        )
    return operation, bound.value
