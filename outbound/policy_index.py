"""The first of many rules that holds for a request, at a cost that does not follow their number. Pure.

Each field has, for each of its values, the set of rules that it lets through, as the bits of one integer
(bit n is rule n). A request has one value of each field: the sets are joined by `&`, and the lowest bit that
is left is the first candidate. Only what bits can't say (globs, several params, expressions) is then asked
of candidates, in order. A set costs a rule's bit in every value, so few rules of a value are kept as a list:
memory is linear in the document, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from outbound.egress_fields import ExpressionFacts, Facts, plan_of
from outbound.path_glob import Glob
from outbound.policy_conditions import Conditions

#: How many prefixes of a request's path are looked up.
MAX_PREFIX_LENGTHS: Final = 16
#: Facts by which expressions are found, the most telling first.
NEEDED_FIELDS: Final[Mapping[str, Callable[[Facts], str | None]]] = {
    "tenant.id": lambda facts: facts.tenant,
    "http.host": lambda facts: facts.host,
    "script.name": lambda facts: facts.script,
    "http.request.uri.path": lambda facts: facts.path,
    "tenant.plan": plan_of,
    "namespace.name": lambda facts: facts.namespace,
    "http.request.method": lambda facts: facts.method,
}


class ValueSets:
    """Of one field: which rules does a value let through? `free` are those that do not ask for the field."""

    __slots__ = ("_sets", "free")

    def __init__(self, asked: Sequence[Iterable[Hashable] | None]) -> None:
        """What each rule asks for; None for nothing."""
        self.free = 0
        lists: dict[Hashable, list[int]] = {}
        free = bytearray(len(asked) // 8 + 1)
        for order, values in enumerate(asked):
            if values is None:
                free[order >> 3] |= 1 << (order & 7)
            else:
                for value in values:
                    lists.setdefault(value, []).append(order)
        self.free = int.from_bytes(free, "little")
        dense = len(asked) // 64
        self._sets: dict[Hashable, int | tuple[int, ...]] = {
            value: bits(orders) if len(orders) > dense else tuple(orders) for value, orders in lists.items()
        }

    def __bool__(self) -> bool:
        """Some rule asks for this field."""
        return bool(self._sets)

    def exactly(self, value: Hashable) -> int:
        """The rules that ask for this value."""
        found = self._sets.get(value, 0)
        return found if isinstance(found, int) else bits(found)

    def any_of(self, values: Iterable[Hashable]) -> int:
        """The rules that ask for one of these, or for nothing."""
        mask = self.free
        sets = self._sets
        for value in values:
            found = sets.get(value)
            if found is not None:
                mask |= found if isinstance(found, int) else bits(found)
        return mask

    def all_of(self, values: Iterable[Hashable]) -> int:
        """The rules that ask for each of these, or for nothing."""
        mask = -1
        for value in values:
            mask &= self.exactly(value)
        return mask | self.free


class PathSets:
    """Which rules may a path lead to? Exact ones by the path, globs by what they begin with."""

    __slots__ = ("_lengths", "sets")

    def __init__(self, asked: Sequence[Sequence[Glob] | None]) -> None:
        lengths = sorted(
            {len(g.first) for globs in asked if globs for g in globs if g.last is not None and g.first}
        )
        # A prefix that is cut is still one that the path must have.
        step = max(1, -(-len(lengths) // MAX_PREFIX_LENGTHS))
        self._lengths = tuple(lengths[::step])
        self.sets = ValueSets([None if globs is None else self._keys(globs) for globs in asked])

    def keys_of(self, glob: Glob) -> Hashable | None:
        """Under what a rule with this glob is kept; None: under nothing, it may match any path."""
        if glob.last is None:
            return (glob.first,)
        length = max((length for length in self._lengths if length <= len(glob.first)), default=0)
        return glob.first[:length] if length else None

    def _keys(self, globs: Sequence[Glob]) -> set[Hashable] | None:
        keys = {self.keys_of(glob) for glob in globs}
        return None if None in keys else keys

    def candidates(self, path: str) -> list[Hashable]:
        """The keys of every glob that may match."""
        keys: list[Hashable] = [(path,)]
        for length in self._lengths:
            if length > len(path):
                break
            keys.append(path[:length])
        return keys


class RuleIndex:
    """Of the rules' conditions, in order."""

    __slots__ = ("_all", "_asks", "_conditions", "_more")

    def __init__(self, conditions: Sequence[Conditions]) -> None:
        self._conditions = tuple(conditions)
        self._all = (1 << len(self._conditions)) - 1
        #: Those that have more to them than the sets say.
        self._more = frozenset(
            order
            for order, asked in enumerate(self._conditions)
            if asked.paths is not None or asked.when is not None or len(asked.params or ()) > 1
        )
        paths = PathSets([asked.paths for asked in self._conditions])
        needs = [_telling(asked) for asked in self._conditions]
        needed = [name for name in NEEDED_FIELDS if any(need and need[0][0] == name for need in needs)]
        fields: list[tuple[list[Iterable[Hashable] | None], Callable[[Facts], Iterable[Hashable]]]] = [
            ([_host_keys(asked.hosts) for asked in self._conditions], lambda facts: host_keys(facts.host)),
            ([asked.ports for asked in self._conditions], lambda facts: (facts.port,)),
            ([asked.schemes for asked in self._conditions], lambda facts: (facts.scheme,)),
            ([asked.methods for asked in self._conditions], lambda facts: (facts.method,)),
            ([asked.tags for asked in self._conditions], lambda facts: facts.tags),
            ([_param_keys(asked) for asked in self._conditions], lambda facts: facts.params.items()),
            (list(needs), lambda facts: [(name, NEEDED_FIELDS[name](facts)) for name in needed]),
        ]
        asks = [(ValueSets(values), read) for values, read in fields]
        asks.append((paths.sets, lambda facts: paths.candidates(facts.path)))
        self._asks = tuple((sets.any_of, read) for sets, read in asks if sets)

    def first(self, facts: Facts) -> int | None:
        """The number of the first rule that holds."""
        for order in self.holding(facts):
            return order
        return None

    def holding(self, facts: Facts) -> Iterator[int]:
        """The numbers of the rules that hold, in order."""
        mask = self._all
        for any_of, read in self._asks:
            mask &= any_of(read(facts))
            if not mask:
                return
        expression_facts: ExpressionFacts | None = None
        while mask:
            lowest = mask & -mask
            mask ^= lowest
            order = lowest.bit_length() - 1
            if order in self._more:
                asked = self._conditions[order]
                if asked.when is not None and expression_facts is None:
                    expression_facts = ExpressionFacts(facts)
                if not asked.rest_holds(facts, expression_facts):
                    continue
            yield order


def bits(orders: Collection[int]) -> int:
    if len(orders) < 8:
        mask = 0
        for order in orders:
            mask |= 1 << order
        return mask
    packed = bytearray(max(orders) // 8 + 1)
    for order in orders:
        packed[order >> 3] |= 1 << (order & 7)
    return int.from_bytes(packed, "little")


def host_keys(host: str) -> list[Hashable]:
    """Under what every pattern that holds `host` is kept: itself, and `.base` for names below one."""
    keys: list[Hashable] = [host]
    if ":" not in host:
        at = host.find(".")
        while at >= 0:
            keys.append(host[at:])
            at = host.find(".", at + 1)
    return keys


def _host_keys(patterns: Sequence[str] | None) -> set[Hashable] | None:
    return None if patterns is None else {pattern.removeprefix("*") for pattern in patterns}


def _param_keys(asked: Conditions) -> list[Hashable] | None:
    if not asked.params:
        return None
    name, values = asked.params[0]
    return [(name, value) for value in values]


def _telling(asked: Conditions) -> list[tuple[str, str]] | None:
    """The (field, value) pairs of which one must be the request's, for the rule's expression to hold."""
    if asked.when is None:
        return None
    found = dict(asked.when.needs)
    name = next((name for name in NEEDED_FIELDS if name in found), None)
    return None if name is None else [(name, value) for value in found[name]]
