"""Rule: control gives a worker process the keys of what may run in it, and no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cli.worker_requests import answer_workers
from model.identity import AccountId, NamespaceName, ScriptName, TenantId, VersionId
from model.isolation import parse_groups
from model.scripts import ScriptRef, ScriptVersion
from processes.channel import ChannelError

Handler = Callable[[object], Awaitable[object]]


class Asked:
    """The end of a worker process's channel, with what control answers on it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def on_request(self, kind: str, handler: Handler) -> None:
        self.handlers[kind] = handler


@pytest.fixture
def asked() -> dict[str, Asked]:
    """What each of three processes may ask: of the door, of a group by namespace, of one by tag."""

    def script(ref: ScriptRef) -> ScriptVersion | None:
        tags = ("tier:free",) if ref.script == "tagged" else ()
        account, handlers = AccountId("default"), frozenset({"fetch"})
        return ScriptVersion(account, ref, TenantId("t"), VersionId("1"), "0" * 64, handlers, tags=tags)

    async def sealed(namespace: NamespaceName | None, name: str) -> SimpleNamespace:
        return SimpleNamespace(version=3, sealed=b"sealed")

    store: Any = SimpleNamespace(
        script=script,
        secret_ciphertext=lambda ref, name: (1, b"sealed"),
        materials=SimpleNamespace(sealed=sealed),
    )
    sealer: Any = SimpleNamespace(
        key_for=lambda account, ref, name, version, sealed: f"key of {ref}".encode(),
        material_key_for=lambda namespace, name, version, sealed: f"material of {namespace}".encode(),
    )
    channels = {name: Asked() for name in ("worker-1", "vip-0", "free-0")}
    processes: Any = SimpleNamespace(channels=channels)
    publisher: Any = None
    answer_workers(processes, store, sealer, publisher, parse_groups("vip:namespace=acme,free:tag=tier:free"))
    return channels


def secret(namespace: str | None, script: str) -> dict[str, object]:
    return {"namespace": namespace, "script": script, "name": "API_KEY", "version": 1}


@pytest.mark.parametrize(
    ("process", "namespace", "script"),
    [
        ("worker-1", "other", "plain"),
        ("worker-1", None, "plain"),
        ("vip-0", "acme", "plain"),
        ("free-0", "other", "tagged"),
        ("free-0", "acme", "tagged"),
    ],
)
async def test_a_process_gets_the_key_of_a_secret_whose_worker_it_runs(
    asked: dict[str, Asked], process: str, namespace: str | None, script: str
) -> None:
    ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))
    assert await asked[process].handlers["secret_key"](secret(namespace, script)) == f"key of {ref}".encode()


@pytest.mark.parametrize(
    ("process", "namespace", "script"),
    [
        ("worker-1", "acme", "plain"),
        ("worker-1", "other", "tagged"),
        ("vip-0", "other", "plain"),
        ("vip-0", "acme", "tagged"),
        ("free-0", "acme", "plain"),
        ("free-0", None, "plain"),
    ],
)
async def test_no_process_gets_the_key_of_another_group_s_secret(
    asked: dict[str, Asked], process: str, namespace: str | None, script: str
) -> None:
    with pytest.raises(ChannelError, match="does not run in isolation group"):
        await asked[process].handlers["secret_key"](secret(namespace, script))


@pytest.mark.parametrize(
    ("process", "namespace", "given"),
    [
        ("worker-1", "other", True),
        ("worker-1", None, True),
        ("worker-1", "acme", False),  # none of its scripts is ever in the default group
        ("vip-0", "acme", True),
        ("vip-0", "other", False),
        ("vip-0", None, False),
        ("free-0", "other", True),  # any namespace may have a script with that tag
        ("free-0", "acme", True),
    ],
)
async def test_materials_of_a_namespace_go_where_its_scripts_may_run(
    asked: dict[str, Asked], process: str, namespace: str | None, given: bool
) -> None:
    answer = asked[process].handlers["material_key"](
        {"namespace": namespace, "name": "partner", "version": 3}
    )
    if given:
        assert await answer == f"material of {namespace}".encode()
    else:
        with pytest.raises(ChannelError, match="no script of that namespace runs in isolation group"):
            await answer
