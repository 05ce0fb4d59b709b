"""Builds the sample workers with the compilers of PyPI's `ziglang`: `python -m sample_workers.build [NAME…]`.

A worker is a folder with a source of its own name: `hello/hello.c` becomes `hello/hello.wasm`. The compiler's
caches go to `build/`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parent
SDK: Final = SAMPLES / "sdk"
_CACHE: Final = SAMPLES.parent / "build"

_TARGET: Final = ("-target", "wasm32-freestanding")
_WASI_TARGET: Final = ("-target", "wasm32-wasi", "-mexec-model=reactor")

#: Of the stack that lies in linear memory, below the data. The usual 1 MiB would push all that a worker touches
#: out of the first 64 KiB, which the host keeps resident between events: three page faults an event, 13 µs.
STACK_BYTES: Final = 32 * 1024
#: It shows how deep a guest can get.
_DEEP: Final = {"hostile": 1 << 20}


class BuildFailed(Exception):
    """The compiler said no; its words are the message."""


def worker_sources() -> dict[str, Path]:
    """Name → source file, sorted by name."""
    found = {}
    for folder in sorted(SAMPLES.iterdir()):
        for source in (folder / f"{folder.name}.c", folder / f"{folder.name}.zig"):
            if source.is_file():
                found[folder.name] = source
    return found


def compile_command(source: Path, output: Path, *, libc: bool = False) -> list[str]:
    """The whole recipe, as the READMEs show it. `libc`: a C worker that uses one, on WASI preview 1."""
    zig = [sys.executable, "-m", "ziglang"]
    stack = _DEEP.get(source.stem, STACK_BYTES)
    if source.suffix == ".c":
        flags = [*_WASI_TARGET] if libc else [*_TARGET, "-nostdlib", "-Wl,--no-entry"]
        if not libc:
            flags.append(f"-Wl,-z,stack-size={stack}")
        flags += ["-Os", "-mbulk-memory", "-Wall", "-Wextra", "-Werror", "-Wl,--strip-all"]
        return [*zig, "cc", *flags, f"-I{SDK / 'c'}", "-o", str(output), str(source)]
    return [
        *(*zig, "build-exe", *_TARGET, "-O", "ReleaseSmall", "-fstrip", "-fno-entry", "-rdynamic"),
        *(
            "--stack",
            str(stack),
            "--dep",
            "tenantry",
            f"-Mroot={source}",
            f"-Mtenantry={SDK / 'zig' / 'tenantry.zig'}",
        ),
        f"-femit-bin={output}",
    ]


def build(source: Path, output: Path, *, libc: bool = False) -> None:
    """Compile one worker to `output`. Raises BuildFailed."""
    environment = os.environ | {
        "ZIG_GLOBAL_CACHE_DIR": str(_CACHE / "zig-global"),
        "ZIG_LOCAL_CACHE_DIR": str(_CACHE / "zig-local"),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        compile_command(source, output, libc=libc),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildFailed(f"{source.name}: {done.stderr.strip()}")


def main(names: list[str]) -> int:
    sources = worker_sources()
    unknown = sorted(set(names) - set(sources))
    if unknown:
        print(f"There is no worker {', '.join(unknown)}; there are {', '.join(sources)}.", file=sys.stderr)
        return 2
    for name in names or sources:
        output = sources[name].with_suffix(".wasm")
        try:
            build(sources[name], output)
        except BuildFailed as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{output.relative_to(SAMPLES)}: {output.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
