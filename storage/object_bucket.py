"""Module bytes in an S3-compatible bucket, under `PREFIX/ab/abcdef…`: a RemoteObjects (`storage.object_cache`).

The library is obstore, an extra. Each call ends within `BucketLimits`, and says whose fault it is: the bucket refuses
us, is not there, can't be reached, or is too slow. What a server writes into its errors is not repeated: some quote
the request, signature and all. Nothing is remembered of a failure: the next call asks again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from storage.failures import StorageBusy, StorageError, StorageLost
from storage.object_store import ObjectMissing, check_digest

if TYPE_CHECKING:
    from obstore.store import S3Store

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,64}(?:/[A-Za-z0-9._-]{1,64}){0,7}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")
_DIGEST_AT_END: Final = re.compile(r"/([0-9a-f]{64})$")
#: An S3 error's code, and nothing else of what came with it.
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS: Final = re.compile(r"status code: ([45][0-9]{2})\b")
REGION: Final = "us-east-1"


class BucketDenied(StorageError):
    """The server knows the key not at all, or lets it not do this."""


class BucketMissing(StorageError):
    """There is no such bucket."""


class BucketUnreachable(StorageLost):
    """There is no connection, or what answers is no S3 server, or it fails."""


class BucketSlow(StorageBusy):
    """The server did not answer in time, or asks to be left alone for now."""


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Which bucket. `endpoint` "": the region's, of Amazon."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = REGION

    def __str__(self) -> str:
        path = f"s3://{self.bucket}/{self.prefix}".removesuffix("/")
        return f"{path} at {self.endpoint}" if self.endpoint else path

    @property
    def port(self) -> int:
        """To which it is connected."""
        parts = urlsplit(self.endpoint)
        return parts.port or (80 if parts.scheme == "http" else 443)


@dataclass(frozen=True, slots=True)
class BucketKey:
    """What requests are signed with; it is sent to nobody."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BucketLimits:
    """Of one call: it ends after request, retry and turn together at the latest."""

    connect_s: float = 5.0
    #: Of one attempt: a module of 100 MB over 2 MB/s.
    request_s: float = 60.0
    #: No further attempt after this.
    retry_s: float = 20.0
    #: Calls at once: a server that hangs must not keep all threads of a process.
    at_once: int = 3
    #: How long another one waits for its turn.
    turn_s: float = 5.0


def parse_bucket(text: str) -> tuple[str, str]:
    """`s3://BUCKET[/PREFIX]` → both. Raises ValueError."""
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.removesuffix("/")
    dots = {".", ".."} & set(prefix.split("/"))
    if scheme != "s3" or not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)) or dots:
        raise ValueError(f"{text[:200]!r} is no s3://BUCKET or s3://BUCKET/PREFIX")
    return bucket, prefix


def parse_endpoint(text: str) -> str:
    """`https://HOST[:PORT]`, or http. Raises ValueError."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("no https://HOST[:PORT] of an S3 server, without path and credentials")
    return f"{parts.scheme}://{parts.netloc}"


def parse_region(text: str) -> str:
    """Raises ValueError."""
    if not _REGION.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no region such as {REGION}")
    return text


def parse_key(text: str) -> BucketKey:
    """The access key's id, and its secret: one line each, or `ID:SECRET`. Raises ValueError, which quotes nothing."""
    parts = text.split() if len(text.split()) == 2 else text.strip().split(":", 1)
    if len(parts) != 2 or not all(
        part.isascii() and part.isprintable() and part and " " not in part for part in parts
    ):
        raise ValueError("an access key's id and its secret are right, one line each")
    return BucketKey(*parts)


class BucketObjects:
    """A RemoteObjects. Use from any thread, of a process that does not fork afterwards: the library has threads."""

    def __init__(self, place: BucketPlace, key: BucketKey, limits: BucketLimits | None = None) -> None:
        """Connects nowhere yet. Raises StorageError when the library is not installed."""
        self.where = f"the bucket {place}"
        self._prefix = f"{place.prefix}/" if place.prefix else ""
        self._limits = limits or BucketLimits()
        self._turns = threading.BoundedSemaphore(self._limits.at_once)
        self._store = _open(place, key, self._limits)

    def store(self, digest: str, data: bytes) -> None:
        name = self._name(digest)
        with self._asking():
            # One request, of which the server keeps all or nothing; never in parts, which a break would leave there.
            self._store.put(name, data, use_multipart=False)

    def fetch(self, digest: str) -> bytes:
        name = self._name(digest)
        with self._asking(digest):
            return bytes(self._store.get(name).bytes())

    def exists(self, digest: str) -> bool:
        try:
            return self._head(digest) is not None
        except ObjectMissing:
            return False

    def digests(self) -> Iterator[str]:
        with self._asking():
            for page in self._store.list(self._prefix.removesuffix("/") or None, chunk_size=500):
                for each in page:
                    # The rest of a bucket is other people's.
                    found = _DIGEST_AT_END.search(each["path"])
                    if found and each["path"] == self._name(found[1]):
                        yield found[1]

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Between the look and the removal another machine may store it anew: `refill` brings it back."""
        try:
            found = self._head(digest)
            modified: datetime = found["last_modified"]
            if datetime.now(UTC) - modified <= timedelta(seconds=older_than_s):
                return 0
            with self._asking(digest):
                self._store.delete(self._name(digest))
        except ObjectMissing:
            return 0
        return int(found["size"])

    def probe(self) -> None:
        """Whether it answers, and lets us list. Raises StorageError."""
        with self._asking():
            next(iter(self._store.list(self._prefix.removesuffix("/") or None, chunk_size=1)), None)

    @contextmanager
    def _asking(self, digest: str = "") -> Iterator[None]:
        """The library's errors become ours. Its messages hold what the server wrote: only codes are taken of them."""
        from obstore.exceptions import BaseError

        if not self._turns.acquire(timeout=self._limits.turn_s):
            raise BucketSlow(
                f"{self.where} has {self._limits.at_once} requests to answer; trying again later may help"
            )
        try:
            yield
        except (BaseError, OSError) as error:  # of what is not found, it is Python's own
            raise _failure(type(error).__name__, str(error), self.where, digest) from None
        finally:
            self._turns.release()

    def _head(self, digest: str) -> Any:
        with self._asking(digest):
            return self._store.head(self._name(digest))

    def _name(self, digest: str) -> str:
        check_digest(digest)
        return f"{self._prefix}{digest[:2]}/{digest}"


def _open(place: BucketPlace, key: BucketKey, limits: BucketLimits) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise StorageError(
            "a bucket needs the library obstore, which is not installed: pip install 'tenantry[s3]'",
            detail=str(error),
        ) from error
    return S3Store(
        place.bucket,
        config={
            "access_key_id": key.id,
            "secret_access_key": key.secret,
            "region": place.region,
            # Not every server has the request that deletes many.
            "disable_bulk_delete": True,
            **({"endpoint": place.endpoint} if place.endpoint else {}),
        },
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=limits.connect_s),
            "timeout": timedelta(seconds=limits.request_s),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=limits.retry_s)},
    )


def _failure(kind: str, text: str, where: str, digest: str) -> StorageError:
    """Pure."""
    code, status = _CODE.search(text), _STATUS.search(text)
    detail = ", ".join([kind, *(found[1] for found in (status, code) if found)])
    what = code[1] if code else ""
    if what == "NoSuchBucket" or kind in ("NotFoundError", "FileNotFoundError"):
        if digest and what != "NoSuchBucket":
            return ObjectMissing(f"there is no object {digest}", detail=where)
        return BucketMissing(f"{where} is not there: make it, or name another", detail=detail)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or what in _DENIED:
        return BucketDenied(f"{where} refuses the access key: look at key and policy", detail=detail)
    if what in ("SlowDown", "RequestTimeout") or "kind: Timeout" in text:
        return BucketSlow(f"{where} does not answer in time; trying again later may help", detail=detail)
    return BucketUnreachable(f"{where} can't be reached, or fails", detail=detail)


_DENIED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken"}
)
