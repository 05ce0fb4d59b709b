"""What a rule asks of a request. Pure.

Each condition that a document left out holds; those it has must all hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from model.hostname import host_matches
from outbound.egress_fields import ExpressionFacts, Facts
from outbound.path_glob import Glob

if TYPE_CHECKING:
    from expressions.explanations import Clause


class Filter(Protocol):
    """As expressions.filters makes it."""

    @property
    def fields(self) -> frozenset[str]: ...

    def matches(self, facts: Mapping[str, object]) -> bool: ...

    def explain(self, facts: Mapping[str, object]) -> Sequence[Clause]: ...


#: What must be equal to one of these for a filter to hold; (field, values).
Needs = tuple[tuple[str, frozenset[str]], ...]


@dataclass(frozen=True, slots=True)
class When:
    """A filter expression over egress_fields.SCHEMA. Two are equal when their texts are."""

    text: str
    filter: Filter = field(compare=False, repr=False)
    #: By what the index finds it.
    needs: Needs = field(default=(), compare=False, repr=False)


class Condition(StrEnum):
    """In the order in which they are asked; the value is the document's field."""

    HOST = "host"
    PORT = "port"
    SCHEME = "scheme"
    METHOD = "method"
    PATH = "path"
    TAGS = "tags"
    PARAMS = "params"
    WHEN = "when"


@dataclass(frozen=True, slots=True)
class Conditions:
    """None: left out."""

    schemes: frozenset[str] | None = None
    #: Exact, an IP literal in its canonical spelling, or `*.` and a name.
    hosts: tuple[str, ...] | None = None
    ports: frozenset[int] | None = None
    methods: frozenset[str] | None = None
    paths: tuple[Glob, ...] | None = None
    #: One of them must be the script's.
    tags: frozenset[str] | None = None
    #: Each must be given, with one of its values.
    params: tuple[tuple[str, frozenset[str]], ...] | None = None
    when: When | None = None

    def unmet(self, facts: Facts) -> Condition | None:
        """The first condition that does not hold, or None when all do: then the rule decides."""
        if self.hosts is not None and not any(host_matches(host, facts.host) for host in self.hosts):
            return Condition.HOST
        if self.ports is not None and facts.port not in self.ports:
            return Condition.PORT
        if self.schemes is not None and facts.scheme not in self.schemes:
            return Condition.SCHEME
        if self.methods is not None and facts.method not in self.methods:
            return Condition.METHOD
        if self.paths is not None and not self._path_holds(facts.path):
            return Condition.PATH
        if self.tags is not None and self.tags.isdisjoint(facts.tags):
            return Condition.TAGS
        if self.params is not None and not self._params_hold(facts.params):
            return Condition.PARAMS
        if self.when is not None and not self.when.filter.matches(ExpressionFacts(facts)):
            return Condition.WHEN
        return None

    def rest_holds(self, facts: Facts, expression_facts: ExpressionFacts | None) -> bool:
        """The conditions that sets of values don't say: path, params, when (then `expression_facts` is there)."""
        return (
            (self.paths is None or self._path_holds(facts.path))
            and (self.params is None or self._params_hold(facts.params))
            and (
                self.when is None
                or (expression_facts is not None and self.when.filter.matches(expression_facts))
            )
        )

    def _path_holds(self, path: str) -> bool:
        return self.paths is None or any(glob.matches(path) for glob in self.paths)

    def _params_hold(self, params: Mapping[str, str]) -> bool:
        return all(params.get(key) in values for key, values in self.params or ())
