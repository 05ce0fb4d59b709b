"""An outbound worker in trusted Python: the platform engineer's `async def outbound(request, env)`.

It answers a Response (`complete`), or the OutgoingRequest that is to go on (`continue`). Whatever it does wrong is
an OperationError of who asked: nothing leaves past it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, cast

from dispatch.hook import Hook, watched
from dispatch.responses import check_headers
from model.errors import OperationError, OperationErrorCode, PlatformError
from model.messages import OutgoingRequest, Response
from model.tasks import in_task

_log = logging.getLogger("tenantry.dispatch")


@dataclass(frozen=True, slots=True)
class OutboundEnv:
    """What an outbound hook is lent for one request. `params`: what the dispatcher passed, and under
    `tenantry.tenant`, `tenantry.script`, `tenantry.namespace` who asks.
    """

    params: Mapping[str, str]
    #: Sends a request by the gateway, as the asker's. Raises OperationError.
    fetch: Callable[[OutgoingRequest], Awaitable[Response]]


OutboundFunction = Callable[[OutgoingRequest, OutboundEnv], Coroutine[Any, Any, object]]


async def run_outbound_hook(
    hook: Hook,
    request: OutgoingRequest,
    params: Mapping[str, str],
    fetch: Callable[[OutgoingRequest], Awaitable[Response]],
) -> Response | OutgoingRequest:
    """Raises OperationError: worker_failed, and what its own fetch raised."""
    await in_task()
    function = cast("OutboundFunction", hook.function)  # a hook is what it is used for
    try:
        async with asyncio.timeout(hook.deadline_s):
            answer = await watched(function(request, OutboundEnv(params, fetch)), hook.name)
    except (OperationError, PlatformError):
        raise
    except TimeoutError as error:
        raise OperationError(
            OperationErrorCode.WORKER_FAILED, f"not done within {hook.deadline_s:g} s"
        ) from error
    except Exception as error:  # the operator's code may raise anything; the asker gets an error
        _log.exception("outbound hook %s failed", hook.name)
        raise OperationError(OperationErrorCode.WORKER_FAILED, f"{type(error).__name__}: {error}") from error
    if isinstance(answer, OutgoingRequest):
        return answer
    if isinstance(answer, Response):
        try:
            return Response(answer.status, check_headers(answer.status, answer.headers), answer.body)
        except (PlatformError, TypeError, ValueError) as error:
            raise OperationError(OperationErrorCode.WORKER_FAILED, f"its Response: {error}") from error
    raise OperationError(
        OperationErrorCode.WORKER_FAILED,
        f"returned {type(answer).__name__}; a Response, or the OutgoingRequest that is to go on, is right",
    )
