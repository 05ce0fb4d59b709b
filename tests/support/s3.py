"""An S3 server of the tests' own: OpenStack Swift with its S3 API, on a free loopback port, removed at the end.

It verifies signatures and access, as a provider's does, keeps objects in files, and comes from the package registry.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from demo.host import free_port
from storage.object_bucket import BucketKey, BucketPlace

BUCKET: Final = "modules"
_CHILD: Final = "tests.support.s3_child"
_START_S: Final = 60.0


class S3Server:
    """`start` and `stop` as often as a test likes: the port and what is kept stay."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tenantry-s3-"))
        #: None of the kernel's own: whoever tries to connect while the server is down could be given it.
        self.port = free_port(0)
        self.key = BucketKey("tests:owner", secrets.token_hex(16))
        #: Known to the server, and allowed nothing.
        self.guest = BucketKey("tests:guest", secrets.token_hex(16))
        self._process: subprocess.Popen[str] | None = None

    def place(self, prefix: str = "", bucket: str = BUCKET) -> BucketPlace:
        return BucketPlace(bucket, prefix, f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Returns when the server takes connections, and the bucket is there."""
        arguments = [str(self.folder), str(self.port), BUCKET, self.key.secret, self.guest.secret]
        with (self.folder / "stderr").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-W", "ignore", "-m", _CHILD, *arguments],
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        output = self._process.stdout
        assert output is not None
        os.set_blocking(output.fileno(), False)
        until = time.monotonic() + _START_S
        while output.readline().strip() != "ready":
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no S3 server: {(self.folder / 'stderr').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_START_S)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def files(self) -> list[Path]:
        """Where it keeps the bytes of objects: for who damages them."""
        return sorted(self.folder.glob("devices/disk/objects/**/*.data"))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Shared: each test has a prefix of its own."""
    server = S3Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_s3() -> Iterator[S3Server]:
    """To stop and start."""
    server = S3Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def bucket(s3: S3Server) -> BucketPlace:
    """Nobody else's."""
    return s3.place(secrets.token_hex(8))
