"""`performance`: marks, and what lies between them."""

from __future__ import annotations

from tests.javascript.web.told import told


async def test_marks_and_measures_are_kept_by_name() -> None:
    body = """
        performance.mark('a', { startTime: 10, detail: { x: 1 } });
        performance.mark('b', { startTime: 25 });
        const between = performance.measure('m', 'a', 'b');
        const other = performance.measure('n', { start: 'a', duration: 5, detail: 'd' });
        const seen = [between.duration, between.startTime, other.duration, other.detail, performance.getEntriesByName('a')[0].detail,
          performance.getEntries().map((entry) => entry.name), between instanceof PerformanceMeasure, String(between)];
        performance.clearMarks('a');
        performance.clearMeasures();
        return [...seen, performance.getEntriesByType('mark').length, performance.getEntriesByType('measure').length, await thrown(() => performance.measure('x', 'a'))];"""
    assert await told(body) == [
        *(15, 10, 5, "d", {"x": 1}, ["a", "m", "n", "b"], True, "[object PerformanceMeasure]"),
        *(1, 0, "SyntaxError: The mark 'a' does not exist."),
    ]


async def test_a_mark_is_of_now_and_waiting_is_measured() -> None:
    body = """
        performance.mark('before');
        const before = performance.now();
        await scheduler.wait(20);
        const { duration, startTime } = performance.measure('waited', 'before');
        return [duration >= 19, startTime === before];"""
    assert await told(body) == [True, True]
