"""A host as one machine of several: who it is, what it compiles ahead, and what `doctor` makes of its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.checks import State, check_replication
from cli.replicas import ImagesAhead, machine_id
from model.identity import DEFAULT_ACCOUNT, TenantId, VersionId
from model.scripts import ScriptRef, ScriptVersion


def test_a_machine_keeps_its_id_and_another_has_another(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first = machine_id(tmp_path / "a")
    assert machine_id(tmp_path / "a") == first
    assert machine_id(tmp_path / "b") != first
    assert (tmp_path / "a" / "machine-id").stat().st_mode & 0o777 == 0o600
    # A start that was killed in between left an empty file.
    (tmp_path / "b" / "machine-id").write_text("")
    assert machine_id(tmp_path / "b") == machine_id(tmp_path / "b") != ""


class Scripts:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def deploy(self, key: str) -> None:
        self.changes.append(("script", key))

    def sequence(self) -> int:
        return len(self.changes)

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]:
        return len(self.changes), self.changes[sequence:]

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        if str(ref.script) == "deleted":
            return None
        digest = f"{ref.namespace or ''}/{ref.script}"
        return ScriptVersion(
            DEFAULT_ACCOUNT, ref, TenantId("t"), VersionId("v"), digest, frozenset({"fetch"})
        )


async def test_what_others_deploy_is_compiled_ahead_and_what_fails_stops_nothing() -> None:
    scripts = Scripts()
    scripts.deploy("ns/before")  # was here when control started: its image is made when it is asked for
    made: list[str] = []
    done, failed = asyncio.Event(), asyncio.Event()

    async def make(digest: str) -> None:
        made.append(digest)
        if digest == "ns/bad":
            failed.set()
            raise RuntimeError("it does not compile")
        if digest == "/last":
            done.set()

    ahead = ImagesAhead(scripts, {"ns/has-one"}.__contains__, make)
    task = asyncio.create_task(ahead.run())
    for key in ("ns/one", "ns/one", "ns/has-one", "ns/deleted", "ns/bad", "ns/two"):
        scripts.deploy(key)
    scripts.changes.append(("route", "example.com"))
    ahead.applied()
    await asyncio.wait_for(failed.wait(), 60)
    scripts.deploy("/last")
    ahead.applied()
    await asyncio.wait_for(done.wait(), 60)
    task.cancel()
    assert made == ["ns/one", "ns/bad", "ns/two", "/last"]


@pytest.mark.parametrize(
    ("row", "state", "said"),
    [
        ({}, State.OK, "at 7 of 7"),
        ({"seq": 5, "lag_s": 9.0}, State.OK, "at 5 of 7"),
        ({"seq": 5, "lag_s": 11.0}, State.WARNING, "11 s behind"),
        ({"away_s": 61.2, "lag_s": 61.2}, State.WARNING, "away for 61 s"),
        ({"stopped": "upgrade this machine"}, State.FAILED, "upgrade this machine"),
    ],
)
def test_doctor_on_replicas(row: dict[str, object], state: State, said: str) -> None:
    base = {"file": "control", "seq": 7, "log_seq": 7, "lag_s": 0.0, "away_s": None, "stopped": ""}
    check = check_replication(base | row)
    assert check.state is state
    assert said in check.detail
    assert check.name == "replication of control"
    assert (check.fix == "") == (state is State.OK)
