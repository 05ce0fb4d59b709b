"""Policy documents and cases from files: read, checked, and joined into what the tools judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cli.errors import BadUsage
from cli.params import read_file

if TYPE_CHECKING:
    from outbound.policy import EgressPolicy
    from outbound.policy_cases import PolicyCase
    from outbound.policy_layers import LayerKind
    from outbound.policy_set import PolicySet

POLICY_BYTES: Final = 1 << 20

F = TypeVar("F", bound=Callable[..., Any])

FILE: Final = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class LayerFlags:
    """As `layer_options` gives them: (name, file), and the names of those that widen."""

    layers: tuple[tuple[str, Path], ...] = ()
    widen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    policies: PolicySet
    #: By layer's name.
    files: dict[str, Path]


@dataclass(frozen=True, slots=True)
class LoadedCases:
    file: Path
    cases: tuple[PolicyCase, ...]
    loaded: LoadedPolicies


class _LayerFile(click.ParamType[tuple[str, Path]]):
    name = "NAME=FILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        if isinstance(value, tuple):
            return value
        name, equals, file = value.partition("=")
        if not equals or not file:
            self.fail(f"{value[:80]!r}: tag:NAME=FILE or tenant:ID=FILE is right", param, ctx)
        return name, Path(file)


def layer_options(function: F) -> F:
    """Give a command --layer and --widen, which LayerFlags takes."""
    for decorate in (
        click.option(
            "--widen", multiple=True, metavar="NAME", help="This layer may allow what those above it deny."
        ),
        click.option(
            "--layer",
            "layers",
            multiple=True,
            type=_LayerFile(),
            metavar="NAME=FILE",
            help="A policy beside the namespace's: tag:NAME=FILE or tenant:ID=FILE.",
        ),
    ):
        function = decorate(function)
    return function


def read_policy_text(file: Path, what: str = "policy") -> str:
    try:
        return read_file(file, at_most=POLICY_BYTES, what=what).decode()
    except UnicodeDecodeError as error:
        raise BadUsage(f"{file} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def check_policy_text(file: Path, text: str) -> EgressPolicy:
    """Raises BadUsage naming the file, line, column and field that are wrong, in the host's words."""
    from outbound.policy_parse import PolicyError, parse_policy

    try:
        return parse_policy(text)
    except PolicyError as error:
        raise BadUsage(f"{file}: {error}") from None


def read_policy(file: Path) -> EgressPolicy:
    return check_policy_text(file, read_policy_text(file))


def load_policies(policy: Path | None, flags: LayerFlags) -> LoadedPolicies:
    """`policy` is the namespace's. Raises BadUsage."""
    return _load(_given(policy, flags))


def load_cases(files: Sequence[Path], flags: LayerFlags) -> list[LoadedCases]:
    """Cases with what judges them: the first of several files is the namespace's policy; one alone names its
    layers itself. Raises BadUsage.
    """
    from outbound.policy_cases import parse_cases
    from outbound.policy_document import DocumentError

    policy, cases = (None, files) if len(files) == 1 else (files[0], files[1:])
    given = _given(policy, flags)
    parsed: dict[frozenset[_Source], LoadedPolicies] = {}
    found: list[LoadedCases] = []
    for file in cases:
        try:
            document = parse_cases(read_policy_text(file, "cases"))
        except DocumentError as error:
            raise BadUsage(f"{file}: {error}") from None
        sources = list(given)
        for layer in document.layers:
            source = _Source(layer.kind, layer.key, file.parent / layer.file, layer.widen)
            if any((each.kind, each.key) == (layer.kind, layer.key) for each in sources):
                raise BadUsage(
                    f"{file}: line {layer.line}: the command line names a policy for {source.name} too"
                )
            sources.append(source)
        if not sources:
            raise BadUsage(
                f"{file} names no policy; give POLICY before it, or say 'layers: {{namespace: FILE}}' in it"
            )
        key = frozenset(sources)
        if key not in parsed:
            parsed[key] = _load(sources)
        found.append(LoadedCases(file, document.cases, parsed[key]))
    return found


@dataclass(frozen=True, slots=True)
class _Source:
    kind: LayerKind
    key: str
    file: Path
    widen: bool

    @property
    def name(self) -> str:
        return f"{self.kind.value}:{self.key}" if self.key else self.kind.value


def _given(policy: Path | None, flags: LayerFlags) -> list[_Source]:
    from outbound.policy_layers import LayerKind
    from outbound.policy_set import parse_layer_name

    found = [] if policy is None else [_Source(LayerKind.NAMESPACE, "", policy, False)]
    for name, file in flags.layers:
        try:
            kind, key = parse_layer_name(name)
        except ValueError as error:
            raise BadUsage(f"--layer {error}") from None
        found.append(_Source(kind, key, file, name in flags.widen))
    for name in flags.widen:
        if name not in {source.name for source in found}:
            raise BadUsage(f"--widen {name[:80]!r}: there is no --layer of that name")
    return found


def _load(sources: Sequence[_Source]) -> LoadedPolicies:
    from outbound.policy_layers import Layer
    from outbound.policy_set import PolicySet

    layers = [
        (source, read_policy(source.file))  # before the layers are joined: the file is named in what is wrong
        for source in sources
    ]
    try:
        policies = PolicySet(
            [Layer(source.kind, policy, source.key, source.widen) for source, policy in layers]
        )
    except ValueError as error:
        raise BadUsage(str(error)) from None
    return LoadedPolicies(policies, {source.name: source.file for source in sources})
