"""SQL databases on a whole host: two worker processes write the same one, and no death loses what was answered."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import signal
from pathlib import Path

from tests.acceptance.platform import Platform, wait_until
from tests.support.crash_engines import send_signal


def sign(platform: Platform, host: str, name: str, entry: str) -> str:
    """The number of the entry. Raises OSError, HTTPException when the process that took it died."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.http_port, timeout=60)
    try:
        connection.request("POST", f"/?name={name}", body=entry.encode(), headers={"Host": host})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 201:
        raise http.client.HTTPException(f"{response.status}: {text}")
    return text.strip()


def rows(platform: Platform, database: str, sql: str) -> list[dict[str, object]]:
    found = json.loads(platform.run("d1", "execute", database, sql, "--json"))
    return list(found[0]["results"])


def test_a_guest_book_is_written_by_a_worker_and_read_by_api_and_command_line(platform: Platform) -> None:
    platform.deploy("guest_book", "book", "--d1", "DB=guests")
    assert sign(platform, "book.localhost", "Ada", "Hello from Turin") == "1"
    assert platform.request("book.localhost").body == "1 Ada: Hello from Turin\n"
    assert platform.request("book.localhost", "/entries/1").status == 200
    assert platform.request("book.localhost", "/entries/2").status == 404
    assert rows(platform, "guests", "SELECT name FROM entries") == [{"name": "Ada"}]
    # What the schema refuses is the worker's to answer.
    refused = platform.request("book.localhost", "/?name=Eve", method="POST", body=b"x" * 501)
    assert refused.status == 400
    assert "CHECK constraint failed" in refused.body


def test_a_dump_goes_into_another_database_and_an_earlier_state_comes_back(
    platform: Platform, tmp_path: Path
) -> None:
    platform.deploy("guest_book", "book2", "--d1", "DB=guests2")
    for number in range(3):
        sign(platform, "book2.localhost", "Bob", f"entry {number}")
    mark = platform.run("d1", "bookmark", "guests2").split()[0]
    dump = tmp_path / "guests.sql"
    platform.run("d1", "export", "guests2", "--output", str(dump))
    platform.run("d1", "create", "copy")
    platform.run("d1", "import", "copy", str(dump))
    assert rows(platform, "copy", "SELECT count(*) AS n FROM entries") == [{"n": 3}]
    platform.run("d1", "execute", "guests2", "DELETE FROM entries")
    assert platform.request("book2.localhost").status == 404
    platform.run("d1", "restore", "guests2", "--bookmark", mark, "--yes")
    for _ in range(10):  # whichever process answers
        assert "entry 2" in platform.request("book2.localhost").body
    platform.run("d1", "delete", "copy", "--yes")
    assert "copy" not in platform.run("d1", "list")


def test_a_tenants_database_goes_with_its_namespace(platform: Platform) -> None:
    platform.run("namespaces", "create", "leaving")
    made = json.loads(
        platform.run("d1", "create", "theirs", "--tenant", "t", "--namespace", "leaving", "--json")
    )
    file = platform.data / "d1" / f"{made['uuid']}.sqlite"
    assert file.exists()
    platform.run("namespaces", "delete", "leaving", "--force", "--yes")
    assert not list(file.parent.glob(f"{made['uuid']}*"))


def test_no_answered_write_is_lost_when_processes_are_killed_in_the_middle(own_platform: Platform) -> None:
    platform = own_platform
    platform.deploy("guest_book", "book", "--d1", "DB=guests")
    sign(platform, "book.localhost", "first", "0")
    answered: list[str] = []
    failed = 0

    def write(writer: int) -> list[str]:
        nonlocal failed
        done = []
        for number in range(60):
            entry = f"{writer}/{number}"
            try:
                sign(platform, "book.localhost", f"w{writer}", entry)
            except (OSError, http.client.HTTPException):
                failed += 1
                continue
            done.append(entry)
        return done

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, writer) for writer in range(6)]
        for kill in range(4):
            wanted = 20 * (kill + 1)
            wait_until(
                lambda wanted=wanted: (
                    len(rows(platform, "guests", "SELECT 1 FROM entries")) > wanted  # type: ignore[misc]
                    or all(one.done() for one in writers)
                )
            )
            victims = platform.workers()
            if victims:
                send_signal(victims[kill % len(victims)], signal.SIGKILL)
        for one in writers:
            answered += one.result()
    kept = {str(row["entry"]) for row in rows(platform, "guests", "SELECT entry FROM entries")}
    assert len(answered) > 60, f"only {len(answered)} were answered, {failed} failed"
    assert not set(answered) - kept
    assert len(platform.ran_in("book")) > 1, "only one process has written"
    assert rows(platform, "guests", "PRAGMA quick_check") == [{"quick_check": "ok"}]
