"""Dumps on their way, in Cloudflare's manner: work that is asked after, and content behind signed addresses.

A client asks for an export, or announces an import, and polls; the dump itself passes by an address that is signed and
good for an hour, without a token. All of it is of this control process: one that is started anew, or another machine,
knows nothing of it, and the client begins again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from control.envelope import ApiError, Code
from model.clock import unix_s
from model.errors import OperationError
from storage.failures import StorageError

TRANSFER: Final = "/client/v4/d1/transfer"
GOOD_FOR_S: Final = 3600
#: How long an answer waits for work that may be done soon.
WAIT_S: Final = 1.0
_MOST_JOBS: Final = 100
_MOST_RUNNING: Final = 4
#: Of all dumps that are kept, deflated.
_MOST_BYTES: Final = 128 << 20


@dataclass(slots=True)
class Job:
    """An export or an import. `result` when it is complete, `error` when it failed."""

    id: str
    database_id: str
    kind: str
    until: float
    result: Mapping[str, Any] | None = None
    error: str = ""
    task: asyncio.Task[None] | None = None

    def shown(self) -> dict[str, Any]:
        status = "error" if self.error else "active" if self.result is None else "complete"
        said = {"active": f"{self.kind} is under way", "complete": f"{self.kind} is complete", "error": ""}
        shown: dict[str, Any] = {
            "success": True,
            "type": self.kind,
            "status": status,
            "at_bookmark": self.id,
            "messages": [said[status]] if said[status] else [],
            "error": self.error,
            "errors": [self.error] if self.error else [],
        }
        return shown if self.result is None else {**shown, "result": self.result}


@dataclass(slots=True)
class _File:
    database_id: str
    until: float
    #: MD5 of what is to be put there, as the client announced it; "" for what is there to be read.
    etag: str
    data: bytes | None = None


@dataclass(slots=True)
class D1Transfers:
    """Use from one event loop."""

    now_s: Callable[[], float] = unix_s
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _jobs: dict[str, Job] = field(default_factory=dict)
    _files: dict[str, _File] = field(default_factory=dict)

    # -- work --------------------------------------------------------------------------------------------

    def job(self, database_id: str, kind: str, job_id: str | None) -> Job | None:
        found = self._jobs.get(job_id or "")
        return found if found is not None and (found.database_id, found.kind) == (database_id, kind) else None

    def begin(self, database_id: str, kind: str, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> Job:
        """Raises ApiError."""
        self._forget_old()
        running = sum(1 for job in self._jobs.values() if job.result is None and not job.error)
        if running >= _MOST_RUNNING or len(self._jobs) >= _MOST_JOBS:
            raise ApiError(503, Code.INTERNAL, "too many exports and imports are under way; try again later")
        job = Job(secrets.token_hex(16), database_id, kind, self.now_s() + GOOD_FOR_S)
        self._jobs[job.id] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job, work))
        return job

    async def wait(self, job: Job) -> None:
        """Until it is done, for a moment at most."""
        if job.task is not None:
            await asyncio.wait([job.task], timeout=WAIT_S)

    async def _run(self, job: Job, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        try:
            job.result = await work()
        except (OperationError, StorageError, ApiError) as error:
            job.error = error.message
        except BaseException:
            job.error = "it was ended in the middle"
            raise

    # -- content -----------------------------------------------------------------------------------------

    async def keep(self, database_id: str, dump: bytes) -> str:
        """A file to be read; its name. Raises ApiError."""
        data = await asyncio.to_thread(zlib.compress, dump, 1)
        name = f"{database_id}.{secrets.token_hex(8)}.sql"
        self._add(name, _File(database_id, self.now_s() + GOOD_FOR_S, "", data))
        return name

    def announce(self, database_id: str, etag: str) -> str:
        """A file to be put; its name. Raises ApiError."""
        name = f"{database_id}.{secrets.token_hex(8)}.sql"
        self._add(name, _File(database_id, self.now_s() + GOOD_FOR_S, etag))
        return name

    async def put(self, name: str, dump: bytes) -> str:
        """Its MD5. Raises ApiError."""
        file = self._files.get(name)
        if file is None or not file.etag or file.data is not None:
            raise ApiError(404, 7404, "there is nothing to be uploaded by this name; begin again")
        etag = hashlib.md5(dump, usedforsecurity=False).hexdigest()
        if etag != file.etag:
            raise ApiError(400, Code.BODY, f"the content's MD5 is {etag}, and {file.etag} was announced")
        file.data = await asyncio.to_thread(zlib.compress, dump, 1)
        self._check_room(name)
        return etag

    async def take(self, database_id: str, name: str, etag: str) -> bytes:
        """What was put there, which is not kept any longer. Raises ApiError."""
        file = self._files.get(name)
        if file is None or file.data is None or (file.database_id, file.etag) != (database_id, etag):
            raise ApiError(
                400, Code.VALIDATION, "filename: nothing was uploaded by this name and MD5", "filename"
            )
        del self._files[name]
        return await asyncio.to_thread(zlib.decompress, file.data)

    async def read(self, name: str) -> bytes:
        """Raises ApiError."""
        file = self._files.get(name)
        if file is None or file.etag or file.data is None:
            raise ApiError(404, 7404, "there is no such export any more; make it anew")
        return await asyncio.to_thread(zlib.decompress, file.data)

    # -- addresses ---------------------------------------------------------------------------------------

    def address(self, base: str, method: str, name: str) -> str:
        """Where `name` is read (GET) or put (PUT), for GOOD_FOR_S. `base`: as https://host."""
        expires = str(int(self.now_s()) + GOOD_FOR_S)
        signed = {"file": name, "expires": expires, "signature": self._sign(method, name, expires)}
        return f"{base}{TRANSFER}?{urlencode(signed)}"

    def check(self, method: str, query: Mapping[str, str]) -> str:
        """The name that a signed address is for. Raises ApiError(403)."""
        name, expires = query.get("file", ""), query.get("expires", "")
        expected = self._sign(method, name, expires)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise ApiError(403, Code.VALIDATION, "the address is not one that was signed here for this")
        if int(expires) < self.now_s():
            raise ApiError(403, Code.VALIDATION, "the address was good for an hour, which is over")
        return name

    def _sign(self, method: str, name: str, expires: str) -> str:
        return hmac.new(self._key, "\n".join((method, name, expires)).encode(), "sha256").hexdigest()

    def _add(self, name: str, file: _File) -> None:
        self._forget_old()
        if len(self._files) >= _MOST_JOBS:
            raise ApiError(503, Code.INTERNAL, "too many exports and imports are under way; try again later")
        self._files[name] = file
        self._check_room(name)

    def _check_room(self, name: str) -> None:
        if sum(len(file.data or b"") for file in self._files.values()) > _MOST_BYTES:
            del self._files[name]
            raise ApiError(503, Code.INTERNAL, "exports and imports under way hold too much; try again later")

    def _forget_old(self) -> None:
        now = self.now_s()
        for name in [name for name, file in self._files.items() if file.until < now]:
            del self._files[name]
        for job_id in [job.id for job in self._jobs.values() if job.until < now]:
            del self._jobs[job_id]
