"""The workers that this process has made, by script; dropped when control changes what they were made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from dispatch.remote_worker import RemoteWorker
from dispatch.route_index import ALL, RouteIndex
from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef, ScriptVersion
from runtime.worker import Worker

MAX_WORKERS: Final = 20_000
#: A RemoteWorker runs in the processes of another isolation group.
AnyWorker = Worker | RemoteWorker


class Workers:
    """`make(version)` lends a version its environment; called once a version and process."""

    def __init__(self, index: RouteIndex, make: Callable[[ScriptVersion], AnyWorker]) -> None:
        self._index = index
        self._make = make
        self._workers: OrderedDict[ScriptRef, AnyWorker] = OrderedDict()
        index.on_change(self._changed)

    def get(self, ref: ScriptRef) -> AnyWorker | None:
        """The worker of what is deployed now; None when there is no such script."""
        self._index.refresh()
        worker = self._workers.get(ref)
        if worker is not None:
            self._workers.move_to_end(ref)
            return worker
        version = self._index.script(ref)
        if version is None:
            return None
        worker = self._workers[ref] = self._make(version)
        if len(self._workers) > MAX_WORKERS:
            self._workers.popitem(last=False)
        return worker

    def _changed(self, kind: str, key: str) -> None:
        if kind in ("script", "secret"):
            namespace, _, script = key.rpartition("/")
            self._workers.pop(ScriptRef(NamespaceName(namespace) or None, ScriptName(script)), None)
        elif kind == "namespace":
            for ref in [ref for ref in self._workers if ref.namespace == key]:
                del self._workers[ref]
        elif kind == ALL:
            self._workers.clear()
