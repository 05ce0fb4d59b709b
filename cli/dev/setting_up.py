"""What the dev host is told besides the worker: where that may connect to, that all requests are its, what wakes it."""

from __future__ import annotations

from typing import Any

from cli.client import ApiClient
from cli.commands.routes import find_routes, target_of
from cli.deploying import make_namespace
from cli.dev.plan import NAMESPACE, Plan, egress_policy
from cli.errors import ApiError
from cli.kept_policies import egress_path
from cli.resources import find_queue, queue_id

#: A developer waits for the effect of each message.
_CONSUMER: dict[str, Any] = {"settings": {"max_wait_time_ms": 500}}


def prepare(client: ApiClient, plan: Plan) -> bool:
    """Before a version of this run is there; whether one of an earlier run is. Raises CliError."""
    make_namespace(client, NAMESPACE, [])
    policy = egress_policy(allow_loopback=plan.allow_loopback)
    client.put_bytes(egress_path(client, NAMESPACE, "egress-policy"), policy.encode(), "application/yaml")
    try:
        client.get(client.script(NAMESPACE, plan.deployment.name))
    except ApiError as error:
        if not error.absent:
            raise
        return False
    return True


def route(client: ApiClient, plan: Plan) -> None:
    """Lead every request to it: whatever a visitor calls this machine, and whatever name the worker had in an earlier
    run. Raises CliError.
    """
    target = target_of(NAMESPACE, plan.deployment.name)
    for found in find_routes(client, "*"):
        if {key: value for key, value in (found.get("target") or {}).items() if value is not None} == target:
            return
        client.delete(client.path("workers", "dispatch", "routes", str(found.get("id"))))
    client.post(client.path("workers", "dispatch", "routes"), {"hostname": "*", "target": target})


def wake(client: ApiClient, plan: Plan) -> list[str]:
    """Give it its queues' messages and its times; what had to be made, in words. Raises CliError."""
    name = plan.deployment.name
    made = []
    for queue in plan.consumes:
        if find_queue(client, queue) is None:
            client.post(client.path("queues"), {"queue_name": queue})
            made.append(f"queue {queue}")
        _consume(client, queue, name)
    client.put(client.script(NAMESPACE, name, "schedules"), [{"cron": cron} for cron in plan.crons])
    return made


def _consume(client: ApiClient, queue: str, name: str) -> None:
    path = client.path("queues", queue_id(client, queue), "consumers")
    for consumer in client.get(path) or []:
        if consumer.get("script_name") == name and consumer.get("dispatch_namespace") == NAMESPACE:
            return
        client.delete(f"{path}/{consumer.get('consumer_id')}")
    try:
        client.post(
            path, {"type": "worker", "script_name": name, "dispatch_namespace": NAMESPACE, **_CONSUMER}
        )
    except ApiError as error:
        error.hint = error.hint or "--consume needs a `queue` handler"
        raise
