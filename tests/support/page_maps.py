"""What a kernel may do with pages, and tell of them, that none here does by itself."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def put_page_of_zeros(address: int) -> None:
    """In place of a page that nobody has touched yet. Source: ioctl_userfaultfd(2)."""
    number = {"x86_64": 323, "aarch64": 282}.get(platform.machine())
    if number is None:
        pytest.skip("userfaultfd's number is not known here")
    user_mode_only = 1
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, os.O_CLOEXEC | user_mode_only)
    if descriptor < 0:
        pytest.skip(f"no userfaultfd: {os.strerror(ctypes.get_errno())}")
    page = struct.pack("<QQ", address, 4096)
    try:
        fcntl.ioctl(descriptor, 0xC018AA3F, bytearray(struct.pack("<QQQ", 0xAA, 0, 0)))  # UFFDIO_API
        fcntl.ioctl(descriptor, 0xC020AA00, bytearray(page + struct.pack("<QQ", 1, 0)))  # UFFDIO_REGISTER
        fcntl.ioctl(descriptor, 0xC020AA04, bytearray(page + struct.pack("<QQ", 0, 0)))  # UFFDIO_ZEROPAGE
        fcntl.ioctl(descriptor, 0x8010AA01, bytearray(page))  # UFFDIO_UNREGISTER
    finally:
        os.close(descriptor)
    assert ctypes.string_at(address, 4096) == bytes(4096)


@contextlib.contextmanager
def told_of_another_process() -> Iterator[None]:
    """The accelerator's descriptor of this process's page map is one of a child's."""
    maps = [int(each.name) for each in Path("/proc/self/fd").iterdir() if is_a_page_map(each)]
    assert maps, "the accelerator has none open"
    ours = {each: os.dup(each) for each in maps}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            with open(f"/proc/{child.pid}/pagemap", "rb") as other:
                for each in maps:
                    os.dup2(other.fileno(), each, inheritable=False)
            yield
        finally:
            for each, kept in ours.items():
                os.dup2(kept, each, inheritable=False)
                os.close(kept)
            child.communicate(b"\n")


def is_a_page_map(descriptor: Path) -> bool:
    try:
        return descriptor.readlink().name == "pagemap"
    except FileNotFoundError:  # of the listing itself
        return False
