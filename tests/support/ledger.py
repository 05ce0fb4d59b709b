"""What a client was told, and so what has to be there after a crash.

An item is anything with one state at a time (a key's value, a message's place, a script's version); None is "not
there". Who changes an item says so before (`tries`) and after (`acknowledge`). After a crash its state has to be the
one acknowledged last, or one that was tried since: a change that was not acknowledged may be there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

State = str | None


@dataclass(slots=True)
class _Item:
    acknowledged: State = None
    tried: list[State] = field(default_factory=list)


class Ledger:
    """One writer an item; different items may be written at once, by any thread. An item whose change got no answer
    is not to be written again: it may still happen.
    """

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}
        #: How often something was acknowledged.
        self.acknowledgements = 0

    def tries(self, item: str, state: State) -> None:
        self._items.setdefault(item, _Item()).tried.append(state)

    def acknowledge(self, item: str) -> None:
        """What was tried last."""
        found = self._items[item]
        found.acknowledged = found.tried[-1]
        found.tried.clear()
        self.acknowledgements += 1

    def wrong(self, found: Mapping[str, State]) -> list[str]:
        """What must not be so, in words. `found` has the state of every item that is there."""
        return [
            f"{name} is {_shown(found.get(name))}; acknowledged: {_shown(item.acknowledged)},"
            f" tried since: {[_shown(state) for state in item.tried]}"
            for name, item in self._items.items()
            if found.get(name) not in (item.acknowledged, *item.tried)
        ] + [f"{name} is {_shown(state)}, and nobody wrote it" for name, state in self._strange(found)]

    def is_in_doubt(self, item: str) -> bool:
        """Something was tried since it was last acknowledged."""
        return bool(self._items[item].tried)

    def names(self, prefix: str) -> Iterable[str]:
        return [name for name in self._items if name.startswith(prefix)]

    def acknowledged(self, item: str) -> State:
        return self._items[item].acknowledged if item in self._items else None

    def _strange(self, found: Mapping[str, State]) -> Iterator[tuple[str, State]]:
        return ((name, state) for name, state in found.items() if name not in self._items)


def _shown(state: State) -> str:
    return "not there" if state is None else repr(state[:60])
