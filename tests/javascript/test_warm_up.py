"""A worker that is deployed with a warm-up request begins every request with what that one left, and with nothing that
was one event's: its variables, what waits, its context.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from model.scripts import BindingKind
from runtime.capi.guest import live_guests
from runtime.javascript.bundle import Module, ModuleType, encode, make
from runtime.javascript.loading import JavaScript, Loaded
from tests.support.guests import engine, request
from tests.support.javascript_guests import JavaScriptGuests, _engine_image

MEMORY = 128 << 20


def loaded(source: str, warm_up: str = "") -> Loaded:
    bundle = make("worker.js", [Module("worker.js", ModuleType.ESM, source.encode())], warm_up=warm_up)
    return JavaScript(engine(), _engine_image()).load(bundle, bytes(32), MEMORY)


KEEPS = """
let made, served = 0;
export default { fetch(request, env, ctx) {
  made ??= { of: request.url, by: request.headers.get("user-agent"), env: Object.keys(env), props: ctx.props };
  served++;
  return Response.json({ made, served, now: Object.keys(env), url: request.url, random: Math.random() });
} };
"""


@pytest.fixture
async def guests() -> AsyncIterator[JavaScriptGuests]:
    made = JavaScriptGuests()
    yield made
    made.close()
    assert live_guests() == 0


async def test_each_request_begins_with_what_the_warm_up_left_and_has_its_own_bindings(
    guests: JavaScriptGuests,
) -> None:
    worker = guests.deploy(
        KEEPS, bindings={"NOTES": (BindingKind.KV_NAMESPACE, object())}, warm_up="/warm?a=b"
    )
    answers = [await guests.answer(worker, request(path=f"/{number}")) for number in range(3)]
    seen = [json.loads(answer.body) for answer in answers]
    for number, answer in enumerate(seen):
        assert answer["made"] == {
            "of": "https://warm-up.invalid/warm?a=b", "by": "tenantry-warm-up", "env": [], "props": {}
        }  # fmt: skip
        assert (answer["served"], answer["now"]) == (2, ["NOTES"])
        assert answer["url"].endswith(f"/{number}")
    assert len({answer["random"] for answer in seen}) == 3


def test_warm_up_is_of_the_bundle_and_so_of_its_digest() -> None:
    """What it leaves is kept by that digest, and shared by all scripts that have it."""
    module = [Module("worker.js", ModuleType.ESM, b"export default { fetch() {} };")]
    cold, warm, other = (encode(make("worker.js", module, warm_up=path)) for path in ("", "/", "/a"))
    assert len({cold, warm, other}) == 3
    assert cold == encode(make("worker.js", module))


def test_same_warm_up_leaves_the_same_delta() -> None:
    first, second = (loaded(KEEPS, "/") for _ in range(2))
    assert first.lines == second.lines == ()
    assert first.delta == second.delta
    assert first.delta != loaded(KEEPS).delta


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("await fetch('https://a.example.com/');", "Disallowed operation"),
        ("await scheduler.wait(10);", "Disallowed operation"),
        ("crypto.randomUUID();", "Disallowed operation"),
        ("await new Promise(() => {});", "waits for something"),
        ("for (;;);", "1000 ms of CPU time"),
        ("throw new Error('not ready');", "not ready"),
        ("kept = Array.from({ length: 3e6 }, (_, i) => i + 0.5); return new Response();", "more than 16 MiB"),
        ("return 'no response';", "Incorrect type"),
    ],
)
def test_worker_that_can_not_be_warmed_is_kept_as_it_was_and_told(body: str, why: str) -> None:
    source = f"let kept = 0; export default {{ async fetch() {{ kept++; {body} }} }};"
    warmed = loaded(source, "/x")
    assert warmed.delta == loaded(source).delta
    level, text = warmed.lines[-1]
    assert level == 3
    assert text.startswith("the worker is kept as it was before its warm-up request of /x: ")
    assert why in text


def test_what_the_warm_up_logs_is_told_with_the_deployment() -> None:
    source = "export default { fetch() { console.warn('cache is cold'); return new Response(); } };"
    assert loaded(source, "/").lines == ((3, "cache is cold"),)
