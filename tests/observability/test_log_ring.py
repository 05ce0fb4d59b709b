"""The last lines of each script, bounded by lines, bytes and scripts; a cursor never shows a line twice."""

from __future__ import annotations

import asyncio

import msgpack
import pytest

from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef
from observability.log_ring import LINE_OVERHEAD, InvalidLogLine, LogRings, from_wire, to_wire
from tests.observability.records import log_line

HELLO = ScriptRef(NamespaceName("production"), ScriptName("hello"))
PLAIN = ScriptRef(None, ScriptName("hello"))


def ref(script: str) -> ScriptRef:
    return ScriptRef(NamespaceName("production"), ScriptName(script))


def texts(rings: LogRings, of: ScriptRef = HELLO, after: int = 0) -> list[str]:
    return [line.text for line in rings.read(of, after)[0]]


def test_lines_are_kept_by_script_and_namespace() -> None:
    rings = LogRings()
    rings.append(log_line("in a namespace"))
    rings.append(log_line("plain", namespace=None))
    assert texts(rings) == ["in a namespace"]
    assert texts(rings, PLAIN) == ["plain"]
    assert texts(rings, ref("silent")) == []


def test_cursor_goes_on_where_the_reader_was() -> None:
    rings = LogRings()
    rings.append(log_line("a"))
    lines, cursor = rings.read(HELLO, 0)
    assert [line.text for line in lines] == ["a"]
    assert rings.read(HELLO, cursor) == ([], cursor)
    rings.append(log_line("elsewhere", script="other"))
    rings.append(log_line("b"))
    assert texts(rings, after=cursor) == ["b"]


def test_cursor_of_an_earlier_process_is_older_than_every_line_of_a_later_one() -> None:
    before = LogRings()
    before.append(log_line("a"))
    cursor = before.read(HELLO, 0)[1]
    assert cursor < 2**53  # a JSON number holds it
    import time

    time.sleep(0.002)
    after = LogRings()
    after.append(log_line("b"))
    assert texts(after, after=cursor) == ["b"]


def test_oldest_lines_go_first_by_number() -> None:
    rings = LogRings(lines_per_script=3)
    for text in "abcde":
        rings.append(log_line(text))
    assert texts(rings) == ["c", "d", "e"]


def test_oldest_lines_go_first_by_bytes_and_the_last_always_stays() -> None:
    rings = LogRings(bytes_per_script=2 * (LINE_OVERHEAD + 10))
    for text in ("a" * 10, "b" * 10, "c" * 10):
        rings.append(log_line(text))
    assert texts(rings) == ["b" * 10, "c" * 10]
    rings.append(log_line("d" * 100_000))
    assert texts(rings) == ["d" * 100_000]


def test_script_that_wrote_longest_ago_is_forgotten_first() -> None:
    rings = LogRings(scripts=2)
    for script in ("a", "b", "a", "c"):
        rings.append(log_line(script, script))
    assert texts(rings, ref("a")) == ["a", "a"]
    assert texts(rings, ref("b")) == []
    assert texts(rings, ref("c")) == ["c"]


def test_bytes_are_those_of_utf_8() -> None:
    rings = LogRings(bytes_per_script=2 * (LINE_OVERHEAD + 4_000))
    for text in ("é" * 2_000, "語" * 1_333, "\U0001f600" * 1_000):
        rings.append(log_line(text))
    assert texts(rings) == ["語" * 1_333, "\U0001f600" * 1_000]


def test_all_scripts_together_are_bounded_by_bytes() -> None:
    rings = LogRings(total_bytes=3 * (LINE_OVERHEAD + 1))
    for script in "abcd":
        rings.append(log_line("x", script))
    assert [script for script in "abcd" if texts(rings, ref(script))] == ["b", "c", "d"]
    rings.append(log_line("y" * 10_000, "e"))  # larger than all there is: it alone stays
    assert [script for script in "abcde" if texts(rings, ref(script))] == ["e"]


def test_deleted_script_is_forgotten() -> None:
    rings = LogRings()
    rings.append(log_line("a"))
    rings.forget(HELLO)
    rings.forget(HELLO)
    assert texts(rings) == []
    rings.append(log_line("b"))
    assert texts(rings) == ["b"]


async def test_wait_ends_with_the_next_line_of_that_script() -> None:
    rings = LogRings()
    waits = [asyncio.create_task(rings.wait(HELLO, 0, 30)) for _ in range(2)]
    other = asyncio.create_task(rings.wait(PLAIN, 0, 0.05))
    await asyncio.sleep(0)
    rings.append(log_line("a"))
    assert await asyncio.gather(*waits) == [True, True]
    assert await other is False


async def test_wait_returns_at_once_when_there_is_a_line_already() -> None:
    rings = LogRings()
    rings.append(log_line("a"))
    assert await rings.wait(HELLO, 0, 30)
    assert not await rings.wait(HELLO, rings.read(HELLO, 0)[1], 0.01)


async def test_wait_that_was_given_up_leaves_nothing_behind() -> None:
    rings = LogRings()
    wait = asyncio.create_task(rings.wait(HELLO, 0, 30))
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert rings._waiters == {}
    rings.append(log_line("a"))


@pytest.mark.parametrize("namespace", ["production", None])
def test_line_travels_between_processes(namespace: str | None) -> None:
    line = log_line("text ☃", namespace=namespace)
    assert from_wire(msgpack.unpackb(msgpack.packb(to_wire(line)))) == line


@pytest.mark.parametrize(
    "value",
    [
        None,
        "line",
        [],
        [1, 1, "text", "ray", "ns", "script", "t"],
        ["1", 1, "text", "ray", "ns", "script", "t", ""],
        [True, 1, "text", "ray", "ns", "script", "t", ""],
        [1, 5, "text", "ray", "ns", "script", "t", ""],
        [1, -1, "text", "ray", "ns", "script", "t", ""],
        [1, 1, b"text", "ray", "ns", "script", "t", ""],
        [1, 1, "text", None, "ns", "script", "t", ""],
        [1, 1, "text", "ray", 1, "script", "t", ""],
        [1, 1, "text", "ray", "ns", None, "t", ""],
        [1, 1, "text", "ray", "ns", "script", None, ""],
        [1, 1, "text", "ray", "ns", "script", "t", None],
        [1, 1, "text", "ray", "ns", "script", "t", "../" * 30],
    ],
)
def test_what_is_no_line_is_refused(value: object) -> None:
    with pytest.raises(InvalidLogLine):
        from_wire(value)
