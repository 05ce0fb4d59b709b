"""What worker processes ask control for: keys of what runs in them, an image that is gone, a tail consumer elsewhere.

Whoever has a process in hand gets what its isolation group may have, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from cli.publisher import LocalPublisher
from cli.tail_link import take_over
from cli.worker_processes import WorkerProcesses, group_of_process
from control.envelope import ApiError
from control.secret_sealing import RootKeySealer
from model.identity import NamespaceName, ScriptName
from model.isolation import IsolationGroups
from model.scripts import ScriptRef
from processes.channel import ChannelError
from storage.control_store import ControlStore
from storage.keys import Unsealable

_log = logging.getLogger("tenantry.control")


@contextmanager
def _refusals() -> Iterator[None]:
    """What can't be unsealed here is said in the log, and to who asked."""
    try:
        yield
    except Unsealable as error:
        _log.error("%s", error.message)
        raise ChannelError(error.message) from error


def answer_workers(
    processes: WorkerProcesses,
    store: ControlStore,
    sealer: RootKeySealer,
    publisher: LocalPublisher,
    groups: IsolationGroups,
) -> None:
    async def secret_key(group: str, payload: object) -> object:
        """The key of one secret of a script that is there and runs in the group that asks, and of no other."""
        if not isinstance(payload, Mapping):
            raise ChannelError("secret_key: a map is expected")
        namespace = payload["namespace"]
        ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(payload["script"]))
        version = store.script(ref)
        stored = store.secret_ciphertext(ref, payload["name"])
        if version is None or stored is None:
            raise ChannelError(f"{ref} has no such secret")
        if groups.group_of(version) != group:
            raise ChannelError(f"{ref} does not run in isolation group {group}")
        with _refusals():
            return sealer.key_for(version.account, ref, payload["name"], int(payload["version"]), stored[1])

    async def material_key(group: str, payload: object) -> object:
        """The key of the version that a material has now, of a namespace whose scripts may run in the group that asks,
        and of no other.
        """
        if not isinstance(payload, Mapping):
            raise ChannelError("material_key: a map is expected")
        namespace = NamespaceName(payload["namespace"]) if payload["namespace"] else None
        stored = await store.materials.sealed(namespace, str(payload["name"]))
        if stored is None or stored.version != payload["version"]:
            raise ChannelError("there is no such material")
        if not groups.may_run(namespace, group):
            raise ChannelError(f"no script of that namespace runs in isolation group {group}")
        with _refusals():
            return sealer.material_key_for(
                namespace, str(payload["name"]), int(payload["version"]), stored.sealed
            )

    async def recompile(payload: object) -> object:
        if not isinstance(payload, Mapping):
            raise ChannelError("recompile: a map is expected")
        _log.warning("compiling module %s again: %s", payload["digest"], payload["why"])
        await publisher.remake(str(payload["digest"]))
        return True

    async def tail(group: str, payload: object) -> object:
        try:
            return await take_over(
                payload, store.script, lambda version: groups.group_of(version) == group, processes.trigger
            )
        except ApiError as error:
            raise ChannelError(error.message) from error

    for name, channel in processes.channels.items():
        channel.on_request("tail", partial(tail, group_of_process(name)))
        channel.on_request("secret_key", partial(secret_key, group_of_process(name)))
        channel.on_request("material_key", partial(material_key, group_of_process(name)))
        channel.on_request("recompile", recompile)
