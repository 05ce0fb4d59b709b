"""What control keeps of egress policies and of the materials that they name, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from model.identity import NamespaceName
from storage.control_records import namespace_key
from storage.transaction import Row


class Layer(StrEnum):
    """Whose requests a policy holds for: all of a namespace, those of scripts with a tag, those of a tenant."""

    NAMESPACE = "namespace"
    TAG = "tag"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Which document. `namespace` None: plain scripts. `name` is the tag or the tenant, "" for a namespace's."""

    namespace: NamespaceName | None
    layer: Layer = Layer.NAMESPACE
    name: str = ""

    @property
    def columns(self) -> tuple[str, str, str]:
        return (namespace_key(self.namespace), self.layer, self.name)

    @property
    def change_key(self) -> str:
        """As the change log has it: `namespace/layer/name`. Only the name may hold a '/'."""
        return "/".join(self.columns)

    def __str__(self) -> str:
        place = f"namespace {self.namespace!r}" if self.namespace else "plain scripts"
        return place if self.layer is Layer.NAMESPACE else f"{self.layer} {self.name!r} of {place}"


@dataclass(frozen=True, slots=True)
class Author:
    """The API token that made a change. Both "" for what is older than the keeping of authors."""

    token_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A document that is to come into force. It was parsed by who asks; what it means is `outbound`'s business."""

    text: str
    #: It may allow what the layers before it deny.
    widen: bool = False
    message: str = ""
    #: Names of the materials that its rules use.
    materials: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of one document. `version` is never used twice, nor by another document."""

    version: int
    #: None: the document was deleted. In a list, "" stands for any text.
    text: str | None
    digest: str
    widen: bool
    author: Author
    message: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PolicyLayer:
    """A version in force, as a worker process needs it: equal digests are equal texts."""

    layer: Layer
    name: str
    version: int
    digest: str
    widen: bool


class MaterialKind(StrEnum):
    SECRET = "secret"  # noqa: S105 - a kind, no secret
    CA_BUNDLE = "ca_bundle"
    CLIENT_CERTIFICATE = "client_certificate"


@dataclass(frozen=True, slots=True)
class MaterialRecord:
    """A material without what it is. `shown` is what may be seen of it: when it expires, whose it is."""

    name: str
    kind: MaterialKind
    version: int
    author: Author
    created_at_ms: int
    modified_at_ms: int
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SealedMaterial:
    kind: MaterialKind
    version: int
    sealed: bytes


#: What a material's key is derived for (storage.keys.RootKey.derive).
MATERIAL_PURPOSE: Final = "egress material"


def material_info(namespace: NamespaceName | None, name: str, version: int) -> bytes:
    """What a material's key is derived from, and the associated data that it is sealed with."""
    return f"{namespace_key(namespace)}\0{name}\0{version}".encode()


def material_change_key(namespace: NamespaceName | None, name: str) -> str:
    return f"{namespace_key(namespace)}/{name}"


def to_policy_version(row: Row) -> PolicyVersion:
    version, text, digest, widen, author_id, author_name, message, at_ms = row
    return PolicyVersion(version, text, digest, bool(widen), Author(author_id, author_name), message, at_ms)


def to_policy_layer(row: Row) -> PolicyLayer:
    layer, name, version, digest, widen = row
    return PolicyLayer(Layer(layer), name, version, digest, bool(widen))


def to_material(row: Row) -> MaterialRecord:
    name, kind, version, shown, author_id, author_name, created_at_ms, modified_at_ms = row
    author = Author(author_id, author_name)
    return MaterialRecord(
        name, MaterialKind(kind), version, author, created_at_ms, modified_at_ms, json.loads(shown)
    )
