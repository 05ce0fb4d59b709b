"""Which worker processes may run a script: isolation groups, as the operator named them. Pure.

A group is a set of dispatch namespaces and of tags; its scripts run in processes of its own, all others in
those of the default group, which also answer the door. A tag says more about one script than its namespace
does, so it is looked at first; of several groups with a tag of the script the first named has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from model.identity import InvalidName, parse_namespace_name, parse_tag
from model.scripts import ScriptVersion

#: The name of the group of all that no other group names.
DEFAULT_GROUP: Final = "default"
MAX_GROUPS: Final = 32
MAX_GROUP_WORKERS: Final = 64
#: Stands for "no namespace", the account's plain scripts, as on the command line.
PLAIN: Final = "-"

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
#: Kinds of processes, which names of processes begin with; and words of metrics.
_RESERVED: Final = frozenset({DEFAULT_GROUP, "worker", "control", "supervisor", "other"})
_FORM: Final = "NAME:namespace=NS&tag=TAG&workers=N, such as free:tag=tier:free&workers=2"


class InvalidGroups(ValueError):
    """The message names the group, what is wrong with it, and what would be right."""


@dataclass(frozen=True, slots=True)
class IsolationGroup:
    """`namespaces` may hold PLAIN. `workers`: processes, at least 1."""

    name: str
    namespaces: frozenset[str]
    tags: frozenset[str]
    workers: int


class IsolationGroups:
    """All groups of a host, the default one left out; true when there are any."""

    def __init__(self, groups: Iterable[IsolationGroup] = ()) -> None:
        self.groups = tuple(groups)
        self._by_namespace = {name: group.name for group in self.groups for name in group.namespaces}
        self._by_tag = tuple((group.tags, group.name) for group in self.groups if group.tags)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IsolationGroups) and self.groups == other.groups

    def __hash__(self) -> int:
        return hash(self.groups)

    def group_of(self, version: ScriptVersion) -> str:
        """The name of the group whose processes run it."""
        for tags, name in self._by_tag:
            if not tags.isdisjoint(version.tags):
                return name
        return self._by_namespace.get(version.ref.namespace or PLAIN, DEFAULT_GROUP)

    def may_run(self, namespace: str | None, group: str) -> bool:
        """Whether any script of `namespace` (None: plain ones) may be in `group`, whatever its tags."""
        has_tags = any(name == group for _, name in self._by_tag)
        return has_tags or self._by_namespace.get(namespace or PLAIN, DEFAULT_GROUP) == group

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.groups)


def parse_groups(text: str) -> IsolationGroups:
    """`NAME:namespace=NS&tag=TAG&workers=N,…`, "" for none. Raises InvalidGroups.

    A namespace may be unknown: scripts come later than groups. The separators are those two characters that
    no tag may hold.
    """
    groups = [_parse_group(part.strip()) for part in text.split(",") if part.strip()]
    if len(groups) > MAX_GROUPS:
        raise InvalidGroups(f"{len(groups)} groups; at most {MAX_GROUPS} are right")
    _check_apart("name", [(group.name, [group.name]) for group in groups])
    _check_apart("namespace", [(group.name, group.namespaces) for group in groups])
    _check_apart("tag", [(group.name, group.tags) for group in groups])
    return IsolationGroups(groups)


def _parse_group(text: str) -> IsolationGroup:
    name, colon, rest = text.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise InvalidGroups(f"{text[:80]!r} is no {_FORM}")
    if name in _RESERVED:
        raise InvalidGroups(f"group {name}: that name has a meaning already; choose another")
    namespaces: set[str] = set()
    tags: set[str] = set()
    workers: int | None = None
    for pair in rest.split("&"):
        key, _, value = pair.strip().partition("=")
        try:
            if key == "namespace":
                namespaces.add(value if value == PLAIN else parse_namespace_name(value))
            elif key == "tag":
                tags.add(parse_tag(value))
            elif key == "workers" and workers is None:
                workers = _parse_workers(value)
            else:
                raise InvalidName(f"{pair[:80]!r}: {_FORM}")
        except ValueError as error:
            raise InvalidGroups(f"group {name}: {error}") from None
    if not namespaces and not tags:
        raise InvalidGroups(f"group {name} has neither a namespace nor a tag, so nothing would run in it")
    return IsolationGroup(name, frozenset(namespaces), frozenset(tags), workers or 1)


def _parse_workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_GROUP_WORKERS:
        raise ValueError(f"workers={text[:20]}: 1 to {MAX_GROUP_WORKERS} processes are right")
    return int(text)


def _check_apart(what: str, members: Sequence[tuple[str, Iterable[str]]]) -> None:
    owners: dict[str, str] = {}
    for group, names in members:
        for name in names:
            if name in owners:
                where = f"two groups have the {what} {name!r}"
                raise InvalidGroups(where if what == "name" else f"{where}: {owners[name]} and {group}")
            owners[name] = group


def as_config(groups: IsolationGroups) -> list[list[object]]:
    """As it travels to a process, in MessagePack."""
    return [[g.name, sorted(g.namespaces), sorted(g.tags), g.workers] for g in groups.groups]


def from_config(config: Mapping[str, object]) -> IsolationGroups:
    """What `as_config` made, under "groups" in a process's configuration: our own words, checked at the start."""
    rows: list[tuple[str, list[str], list[str], int]] = config["groups"]  # type: ignore[assignment]
    return IsolationGroups(
        IsolationGroup(name, frozenset(namespaces), frozenset(tags), workers)
        for name, namespaces, tags, workers in rows
    )
