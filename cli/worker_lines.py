"""What worker processes say that their guests logged, as far as it can be theirs.

A process of an isolation group may be in a tenant's hands. It is heard about scripts that run in it, and the module by
which a stack trace is told in the places of its sources has to be one of that very script: with another's digest,
somebody else's sources would be named in this script's log.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from model.identity import ScriptName, TenantId
from model.isolation import DEFAULT_GROUP, IsolationGroups
from model.observer import LogLine
from model.scripts import ScriptRef, ScriptVersion
from observability.log_ring import InvalidLogLine, LogRings, from_wire

_log = logging.getLogger("tenantry.control")

#: Scripts with traces in their logs of which earlier modules are known, and how many of each.
_MOST_SCRIPTS: Final = 4_096
_MOST_MODULES: Final = 8


class WorkerLines:
    """`script`: what is deployed now. Lines go to `rings`."""

    def __init__(
        self,
        rings: LogRings,
        groups: IsolationGroups,
        script: Callable[[ScriptRef], ScriptVersion | None],
    ) -> None:
        self._rings = rings
        self._groups = groups
        self._script = script
        #: Modules that were a script's when a trace of it came: events of the version before go on for a while.
        self._modules: OrderedDict[tuple[ScriptRef, TenantId], tuple[str, ...]] = OrderedDict()

    def take(self, group: str, payload: object) -> None:
        """From a process of `group`, which may have sent anything."""
        if not isinstance(payload, Sequence):
            return
        known: dict[ScriptRef, ScriptVersion | None] = {}
        strange = 0
        for value in payload:
            try:
                line = from_wire(value)
            except InvalidLogLine as error:
                _log.error("a worker process sent no log line: %s", error)
                continue
            if self._groups:
                ref = ScriptRef(line.namespace, ScriptName(line.script))
                if ref not in known:
                    known[ref] = self._script(ref)
                version = known[ref]
                if (DEFAULT_GROUP if version is None else self._groups.group_of(version)) != group:
                    strange += 1
                    continue
                if line.module and not self._is_of(version, line):
                    line = replace(line, module="")
            self._rings.append(line)
        if strange:
            _log.warning(
                "group %s: %d log lines of scripts that do not run there were dropped", group, strange
            )

    def _is_of(self, version: ScriptVersion | None, line: LogLine) -> bool:
        if version is None:
            return False
        key = (version.ref, version.tenant)
        modules = self._modules.pop(key, ())
        if version.module_digest not in modules:
            modules = (*modules, version.module_digest)[-_MOST_MODULES:]
        self._modules[key] = modules
        if len(self._modules) > _MOST_SCRIPTS:
            self._modules.popitem(last=False)
        return line.module in modules
