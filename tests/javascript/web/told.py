"""What a few lines of JavaScript say in the engine: their value, by way of JSON."""

from __future__ import annotations

import json
from typing import Any

from model.capabilities import WorkerEnv
from model.messages import IncomingRequest
from tests.javascript.harness import handler, tenant

#: `name(function)` of what it throws, and `ok` of what it does not.
_THROWN = "const thrown = async (run) => { try { await run(); return 'ok'; } catch (e) { return `${e.name}: ${e.message}`; } };"


async def told(body: str, incoming: IncomingRequest | None = None, env: WorkerEnv | None = None) -> Any:
    """What `body`, which is the body of an async function, returns."""
    source = handler(f"return Response.json(await (async () => {{ {body} }})() ?? null);", _THROWN)
    answer = await tenant(source, env=env).fetch(incoming)
    assert answer.error is None, answer.error
    return json.loads(answer.text)
