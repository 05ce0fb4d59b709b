"""One worker process's part in isolation groups: whose scripts run here, and the way to where the others run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from dispatch.admission import Admission
from dispatch.group_calls import GroupCalls
from dispatch.group_outbound import Ask, Standing
from dispatch.remote_worker import RemoteWorker
from dispatch.route_index import RouteIndex
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.errors import OperationError, OperationErrorCode
from model.identity import DEFAULT_ACCOUNT, ScriptName, TenantId, VersionId
from model.isolation import DEFAULT_GROUP, IsolationGroups
from model.observer import Observer
from model.scripts import ScriptRef, ScriptVersion
from processes.doors import Door
from processes.exchange import Exchange
from processes.group_links import LinksToDoor, LinksToGroups

_LOOK_S: Final = 0.02


class Isolation:
    """`name` is the process's, `group` the one that it belongs to; `doors` as it inherited them.

    `join` comes when the parts that run workers are made, `start` when they run.
    """

    def __init__(
        self, groups: IsolationGroups, name: str, group: str, doors: Mapping[str, Door], observer: Observer
    ) -> None:
        self._groups = groups
        self._group = group
        self._observer = observer
        self._calls: GroupCalls | None = None
        self._links: LinksToGroups | LinksToDoor = (
            LinksToGroups(name, doors, self._called_by_group)
            if group == DEFAULT_GROUP
            else LinksToDoor(group, doors[""], self._handed_over)
        )

    def join(
        self,
        index: RouteIndex,
        workers: Workers,
        runner: TreeRunner,
        admission: Admission,
        ask: Ask,
        standing: Standing,
    ) -> None:
        self._calls = GroupCalls(self._groups, self._group, index, workers, runner, admission, ask, standing)

    def start(self) -> None:
        self._links.start()

    def runs_here(self, version: ScriptVersion) -> bool:
        return self._groups.group_of(version) == self._group

    def remote(self, version: ScriptVersion) -> RemoteWorker:
        """The stand-in of a worker that does not run here."""
        links = self._links
        if isinstance(links, LinksToGroups):
            return RemoteWorker(version, partial(links.open, self._groups.group_of(version)), self._observer)
        return RemoteWorker(version, links.open, self._observer)

    def remote_hook(self, name: str) -> RemoteWorker:
        """The stand-in of an outbound hook, which runs at the door."""
        version = ScriptVersion(
            DEFAULT_ACCOUNT,
            ScriptRef(None, ScriptName(name)),
            TenantId("platform"),
            VersionId("hook"),
            "",
            frozenset({"fetch"}),
        )
        return RemoteWorker(version, self._to_door, self._observer, is_hook=True)

    async def _to_door(self, question: bytes) -> Exchange:
        if isinstance(self._links, LinksToGroups):
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, "--hooks has no such hook")
        return await self._links.open(question)

    def begin_drain(self) -> None:
        self._links.begin_drain()

    async def drained(self, timeout_s: float) -> bool:
        """True when nothing that another process handed over runs here, and (in a group) none will any more."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if isinstance(self._links, LinksToDoor) and not await self._links.drained(timeout_s):
            return False
        while self._calls is not None and self._calls.running:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def close(self) -> None:
        self._links.close()

    def _called_by_group(self, exchange: Exchange, question: bytes, group: str) -> None:
        if self._calls is not None:
            self._calls.answer(exchange, question, from_group=group)

    def _handed_over(self, exchange: Exchange, question: bytes, _group: str) -> None:
        if self._calls is not None:
            self._calls.answer(exchange, question, from_group=None)
