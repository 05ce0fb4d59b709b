"""Runs commands in this process, as `tenantry` would, against a server that records."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cli.main import main
from tests.cli.recording_api import RecordingApi, recording_api


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    #: stdout as it was written, for values that are no text.
    out_bytes: bytes


Run = Callable[..., Ended]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingApi]:
    with recording_api() as server:
        monkeypatch.setenv("TENANTRY_URL", server.url)
        monkeypatch.setenv("TENANTRY_TOKEN", "token-of-the-test")
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("TENANTRY_DATA", "TENANTRY_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)

    def run_command(*arguments: str, stdin: bytes = b"") -> Ended:
        out, err = io.BytesIO(), io.BytesIO()
        streams = {
            "stdin": io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"),
            "stdout": io.TextIOWrapper(out, encoding="utf-8", write_through=True),
            "stderr": io.TextIOWrapper(err, encoding="utf-8", write_through=True),
        }
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            code = main(arguments)
            for stream in streams.values():
                stream.flush()
        return Ended(
            int(code), out.getvalue().decode(errors="replace"), err.getvalue().decode(), out.getvalue()
        )

    return run_command
