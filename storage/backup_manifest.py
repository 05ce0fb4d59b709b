"""What a backup says of itself: which files, of which schema, under which root key; and a MAC over that.

The MAC's key is derived from the root key: who has another key, or has changed the file, is found out. The root key
itself is never in a backup.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

import msgspec

from storage.failures import StorageError
from storage.keys import RootKey

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_PURPOSE: Final = "backup"
#: What a member may be called, and nothing else is ever written.
MEMBER: Final = re.compile(
    r"(?:control|tokens|kv|queues|cron|audit|analytics)\.db|objects/(?P<shard>[0-9a-f]{2})/(?P=shard)[0-9a-f]{62}"
    r"|d1/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.sqlite"
)


class BackupInvalid(StorageError):
    """The file is no backup, is cut short or was changed."""


class OtherRootKey(StorageError):
    """The backup was made under another root key."""


class Member(msgspec.Struct, frozen=True):
    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    release: str
    made_at_ms: int
    root_key_id: str
    #: The number of control's last change in it.
    change: int
    #: Of a machine of a platform whose state is in PostgreSQL: that is not in it.
    shared_platform: bool
    #: database file → (stream, number, sha256) of its migrations.
    schema: dict[str, list[tuple[str, int, str]]]
    members: list[Member]
    format: int = FORMAT


def encode(manifest: Manifest, root: RootKey) -> bytes:
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode({"mac": _mac(body, root), "manifest": msgspec.Raw(body)})


def decode(data: bytes, root: RootKey | None) -> Manifest:
    """`root` None: whose key it is, and whether somebody changed it, is not looked at.

    Raises BackupInvalid, OtherRootKey.
    """
    try:
        sealed = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        body = bytes(sealed["manifest"])
        found = msgspec.json.decode(body, type=_Format)
        if found.format != FORMAT:
            raise BackupInvalid(f"a backup of format {found.format}; this release reads format {FORMAT}")
        manifest = msgspec.json.decode(body, type=Manifest)
        mac = msgspec.json.decode(sealed["mac"], type=str)
    except (msgspec.MsgspecError, KeyError) as error:
        raise BackupInvalid("the backup's manifest can't be read", detail=str(error)) from error
    if root is None:
        return manifest
    if manifest.root_key_id != root.key_id:
        raise OtherRootKey(
            f"the backup was made under root key {manifest.root_key_id}; this one is {root.key_id}"
        )
    if not hmac.compare_digest(mac, _mac(body, root)):
        raise BackupInvalid("the backup's manifest was changed after it had been made")
    return manifest


class _Format(msgspec.Struct):
    format: int


def _mac(body: bytes, root: RootKey) -> str:
    return hmac.digest(root.derive(_PURPOSE), body, "sha256").hex()
