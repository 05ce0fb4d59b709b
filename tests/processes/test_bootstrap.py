"""Rule: a child knows all from the pipe and passes nothing on; nobody can start one by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from processes.bootstrap import MAX_CONFIG_BYTES, PIPE_VARIABLE, pack

SHOW = """
import json, os, resource, signal, subprocess, sys
from processes.bootstrap import bootstrap
given = bootstrap()
child = subprocess.run(["sh", "-c", "ls /proc/self/fd | wc -l; grep NoNewPrivs /proc/self/status"],
                       capture_output=True, text=True, close_fds=False).stdout.split()
print(json.dumps([given.kind, given.index, given.config["name"], sorted(given.channels), len(given.listeners),
    int(child[0]), child[2], resource.getrlimit(resource.RLIMIT_CORE)[0],
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN, [k for k in os.environ if "TENANTRY" in k]]))
"""


def run(parent: int | None = None) -> subprocess.CompletedProcess[str]:
    from processes.channel import channel_pair
    from processes.listeners import ListenAddress, PortGroup

    group = PortGroup(ListenAddress("127.0.0.1", 0))
    listener, (near, far) = group.open(), channel_pair()
    config_read, config_write = os.pipe()
    ready_read, ready_write = os.pipe()
    data = pack(
        kind="worker",
        index=2,
        config={"name": "n"},
        listeners=[listener.fileno()],
        channels={"control": near.fileno()},
        ready=ready_write,
    )
    if parent is not None:
        data = data.replace(b"\xa6parent" + pack_int(os.getpid()), b"\xa6parent" + pack_int(parent))
    os.write(config_write, data)
    os.close(config_write)
    result = subprocess.run(
        [sys.executable, "-c", SHOW],
        pass_fds=[config_read, ready_write, listener.fileno(), near.fileno()],
        env={**os.environ, PIPE_VARIABLE: str(config_read)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    for descriptor in (config_read, ready_read, ready_write):
        os.close(descriptor)
    for sock in (near, far, listener):
        sock.close()
    group.close()
    return result


def pack_int(number: int) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb(number)
    return packed


def test_a_child_is_told_all_and_passes_nothing_on() -> None:
    result = run()
    # ls sees 0, 1, 2, its pipe to wc and the folder it lists: none of the four that were inherited.
    assert result.stdout.strip() == ('["worker", 2, "n", ["control"], 1, 4, "1", 0, true, []]'), result.stderr


def test_a_child_whose_supervisor_has_died_meanwhile_ends_at_once() -> None:
    assert run(parent=1).returncode == -9


def test_nobody_starts_a_child_by_hand() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=100, check=False
    )
    assert "tenantry serve" in result.stderr


def test_a_configuration_that_does_not_fit_the_pipe_is_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        pack(kind="worker", index=0, config={"x": "y" * MAX_CONFIG_BYTES}, listeners=[], channels={}, ready=1)
