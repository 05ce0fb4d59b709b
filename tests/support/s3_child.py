"""OpenStack Swift behind its S3 API, proxy and storage servers in one process, as tests.support.s3 starts it.

`FOLDER PORT BUCKET OWNER_SECRET GUEST_SECRET`. Prints a line when it takes connections.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import eventlet

eventlet.monkey_patch()

import eventlet.wsgi  # noqa: E402 - after the patch
from swift.common import constraints, storage_policy, utils, wsgi  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring.builder import RingBuilder  # noqa: E402
from swift.common.swob import Request  # noqa: E402

_DISK: Final = "disk"
_KINDS: Final = ("account", "container", "object")
_BACKEND: Final = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY: Final = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors cache s3api tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_tests_owner = {owner} .admin
user_tests_guest = {guest}
"""


def main(folder: Path, port: int, bucket: str, owner: str, guest: str) -> None:
    conf = folder / "swift.conf"
    conf.write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    utils.SWIFT_CONF_FILE = constraints.SWIFT_CONF_FILE = storage_policy.SWIFT_CONF_FILE = str(conf)
    utils.HASH_PATH_SUFFIX = b"tests"
    constraints.reload_constraints()
    storage_policy.reload_storage_policies()
    (folder / "devices" / _DISK).mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("a", buffering=1) as log:
        # The rings say where the servers are, so all listen before the first is read.
        listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in _KINDS}
        for kind, listener in listeners.items():
            _make_ring(folder / f"{kind}.ring.gz", listener.getsockname()[1])
        for kind, listener in listeners.items():
            app = _load(folder / f"{kind}.conf", _BACKEND.format(folder=folder, kind=kind))
            eventlet.spawn_n(eventlet.wsgi.server, listener, app, log, protocol=SwiftHttpProtocol)
        proxy = _load(folder / "proxy.conf", _PROXY.format(folder=folder, owner=owner, guest=guest))
        listener = eventlet.listen(("127.0.0.1", port))
        _make_bucket(proxy, bucket)
        print("ready", flush=True)
        eventlet.wsgi.server(listener, proxy, log, protocol=SwiftHttpProtocol)


def _make_ring(path: Path, port: int) -> None:
    ring = RingBuilder(2, 1, 0)
    ring.add_dev({"region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "port": port, "device": _DISK})
    ring.rebalance()
    ring.get_ring().save(str(path))


def _load(path: Path, text: str) -> object:
    path.write_text(text)
    return wsgi.loadapp(str(path))


def _make_bucket(proxy: object, bucket: str) -> None:
    """Beneath the S3 API, as the server's own middleware may: a bucket is a container of the account."""
    environ = {"swift.authorize_override": True, "swift.authorize": lambda request: None}
    for path in ("/v1/AUTH_tests", f"/v1/AUTH_tests/{bucket}"):
        request = Request.blank(path, environ=environ | {"REQUEST_METHOD": "PUT"})
        response = request.get_response(proxy)
        if response.status_int not in (201, 202):
            raise RuntimeError(f"{path}: {response.status} {response.body!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), *sys.argv[3:6])
