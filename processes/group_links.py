"""The links between the processes at the door and those of isolation groups.

Processes at the door have the near end of each group process's door and knock; whatever they hear of a link's
end, they knock again, and the successor answers. A process of a group answers only its own door: it reaches
another group through a process at the door, or not at all.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

from model.errors import LoadShed
from processes.doors import Door
from processes.exchange import Exchange, Kind
from processes.links import Link

#: So long after a group lost its last process its requests wait for the next one: a start takes about a second, on a
#: machine that is busy several.
WAIT_S: Final = 10.0
#: That wait, for each group.
MAX_WAITING: Final = 256
#: Between two knocks at one door.
_KNOCK_AGAIN_S: Final = 0.2
_DRAIN_LOOK_S: Final = 0.02

#: (exchange, question, name of the group that asks): answer, in a task of its own.
OnCall = Callable[[Exchange, bytes, str], None]


class _Peer:
    """One process of a group, seen from the door."""

    __slots__ = ("door", "group", "knocked_s", "link", "retired")

    def __init__(self, group: str, door: Door) -> None:
        self.group = group
        self.door = door
        self.link: Link | None = None
        #: Links that drain: nothing new goes there, and they are closed when they are idle.
        self.retired: set[Link] = set()
        self.knocked_s = float("-inf")

    @property
    def usable(self) -> Link | None:
        link = self.link
        return link if link is not None and link.ready and not link.lost else None


class LinksToGroups:
    """Of a process at the door, `name`. `doors`: near ends by name of the group's process, such as `free-0`."""

    def __init__(self, name: str, doors: Mapping[str, Door], on_call: OnCall) -> None:
        self._name = name
        self._on_call = on_call
        self._peers = [_Peer(process.rpartition("-")[0], door) for process, door in doors.items()]
        self._by_group: dict[str, list[_Peer]] = {}
        for peer in self._peers:
            self._by_group.setdefault(peer.group, []).append(peer)
        self._waiting: dict[str, set[asyncio.Future[None]]] = {group: set() for group in self._by_group}
        self._down_since: dict[str, float] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._draining = False
        self._closed = False

    def start(self) -> None:
        """In the running loop."""
        now = asyncio.get_running_loop().time()
        self._down_since = dict.fromkeys(self._by_group, now)
        for peer in self._peers:
            self._knock(peer)

    async def open(self, group: str, question: bytes) -> Exchange:
        """With the process of `group` that has the least to do for this one. Raises LoadShed."""
        link = self._pick(group)
        while link is None:
            await self._wait(group)
            link = self._pick(group)
        return link.open(question)

    def up(self, group: str) -> int:
        """How many processes of `group` can be asked now."""
        return sum(1 for peer in self._by_group.get(group, ()) if peer.usable is not None)

    def begin_drain(self) -> None:
        """The host may be stopping, and the groups' processes with it: those that drain are asked all the same."""
        self._draining = True
        for peer in self._peers:
            if peer.usable is None and peer.retired:
                peer.link = peer.retired.pop()
            if peer.link is not None:
                peer.link.say(Kind.DRAINING)

    def close(self) -> None:
        self._closed = True
        for task in self._connecting:
            task.cancel()
        for peer in self._peers:
            for link in (peer.link, *peer.retired):
                if link is not None:
                    link.close()
            peer.door.close()

    # -- inside ------------------------------------------------------------------------------------

    def _pick(self, group: str) -> Link | None:
        best: Link | None = None
        peers = self._by_group.get(group, [])
        for peer in peers:
            link = peer.usable
            if link is not None and (best is None or link.open_count < best.open_count):
                best = link
        if best is not None and len(peers) > 1:
            # Whoever is asked goes to the end of the line, so that idle ones take turns.
            peers.sort(key=lambda peer: peer.link is best)
        return best

    async def _wait(self, group: str) -> None:
        waiting = self._waiting.get(group)
        left = WAIT_S - (asyncio.get_running_loop().time() - self._down_since.get(group, 0.0))
        if waiting is None or left <= 0 or len(waiting) >= MAX_WAITING or self._closed:
            raise _away(group)
        waiter = asyncio.get_running_loop().create_future()
        waiting.add(waiter)
        try:
            async with asyncio.timeout(left):
                await waiter
        except TimeoutError:
            raise _away(group) from None
        finally:
            waiting.discard(waiter)

    def _knock(self, peer: _Peer) -> None:
        if self._closed or peer.link is not None:
            return
        loop = asyncio.get_running_loop()
        # A process that breaks off its links as soon as they are made must not keep this one busy.
        early_s = peer.knocked_s + _KNOCK_AGAIN_S - loop.time()
        sock = peer.door.knock(self._name) if early_s <= 0 else None
        if sock is None:
            loop.call_later(early_s if early_s > 0 else _KNOCK_AGAIN_S, self._knock, peer)
            return
        peer.knocked_s = loop.time()
        link = peer.link = Link(
            peer.group,
            lambda exchange, question: self._on_call(exchange, question, peer.group),
            lambda changed: self._changed(peer, changed),
        )
        task = loop.create_task(link.connect(sock))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _changed(self, peer: _Peer, link: Link) -> None:
        current = peer.link is link
        if link.lost:
            peer.retired.discard(link)
            if current:
                self._without(peer)
        elif link.draining and not self._draining:
            if current:
                peer.retired.add(link)
                self._without(peer)
            if link.is_idle:
                link.close()
        elif current:
            self._down_since.pop(peer.group, None)
            for waiter in self._waiting[peer.group]:
                if not waiter.done():
                    waiter.set_result(None)

    def _without(self, peer: _Peer) -> None:
        peer.link = None
        if not self.up(peer.group):
            self._down_since.setdefault(peer.group, asyncio.get_running_loop().time())
        self._knock(peer)


class LinksToDoor:
    """Of a process of `group`: `door` is the far end of its own."""

    def __init__(self, group: str, door: Door, on_call: OnCall) -> None:
        self._group = group
        self._door = door
        self._on_call = on_call
        self._links: set[Link] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._draining = False

    def start(self) -> None:
        """Answer knocks, those too that came before this process did."""
        asyncio.get_running_loop().add_reader(self._door.fileno(), self._knocked)
        self._knocked()

    async def open(self, question: bytes) -> Exchange:
        """With a process at the door. Raises LoadShed."""
        usable = [link for link in self._links if not link.lost]
        if not usable:
            raise LoadShed("no process at the door can be asked now; try again")
        return min(usable, key=lambda link: (link.draining, link.open_count)).open(question)

    def begin_drain(self) -> None:
        """Answer no knocks more; what is asked is answered until each process at the door has turned away."""
        if not self._draining:
            self._draining = True
            asyncio.get_running_loop().remove_reader(self._door.fileno())
            for link in self._links:
                link.say(Kind.DRAINING)

    async def drained(self, timeout_s: float) -> bool:
        """True when nobody at the door has a link to this process any more; False after the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._links:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_DRAIN_LOOK_S)
        return True

    def close(self) -> None:
        self.begin_drain()
        for task in self._connecting:
            task.cancel()
        for link in list(self._links):
            link.close()
        self._door.close()

    # -- inside ------------------------------------------------------------------------------------

    def _knocked(self) -> None:
        while (found := self._door.answer()) is not None:
            name, sock = found
            link = Link(
                name, lambda exchange, question: self._on_call(exchange, question, self._group), self._changed
            )
            self._links.add(link)
            task = asyncio.get_running_loop().create_task(self._connect(link, sock))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, link: Link, sock: socket.socket) -> None:
        try:
            await link.connect(sock)
        except OSError:
            self._links.discard(link)  # whoever knocked has died since
            return
        link.say(Kind.READY)
        if self._draining:
            link.say(Kind.DRAINING)

    def _changed(self, link: Link) -> None:
        if link.lost:
            self._links.discard(link)


def _away(group: str) -> LoadShed:
    return LoadShed(f"no process of isolation group {group} runs now; try again", retry_after_s=2)
