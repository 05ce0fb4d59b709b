"""`fetch`: a request to the internet, through whatever Fetcher the worker was lent: the outbound gateway, and an
outbound worker before it where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from bindings.arguments import check_count
from bindings.http_values import parse_request, response_value
from model.capabilities import GuestEvent
from model.errors import OperationError, OperationErrorCode


async def fetch(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("fetch", args, 1, 1, "request")
    fetcher = event.env.fetcher
    if fetcher is None:
        raise OperationError(OperationErrorCode.DENIED, "fetch: this worker was lent no way to the internet")
    request = parse_request("fetch", event, args[0])
    return response_value(event, await fetcher.fetch(request, event.context))
