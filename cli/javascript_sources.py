"""A worker in JavaScript or TypeScript on the developer's disk → the modules that are uploaded.

Plain JavaScript is sent as it is, with the files that it imports by relative names. What has to be made into it first
(TypeScript, JSX, packages of npm) goes through esbuild, where that is installed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.errors import BadUsage, CliError
from cli.params import read_file

ESM: Final = "application/javascript+module"
SOURCE_MAP: Final = "application/source-map"

_SCRIPTS: Final = (".js", ".mjs")
_TO_BUNDLE: Final = (".ts", ".mts", ".tsx", ".jsx")
WORKER_FILES: Final = (
    f"a worker is a .wasm file, JavaScript ({', '.join(_SCRIPTS)}), what esbuild makes into it"
    f" ({', '.join(_TO_BUNDLE)}), or a folder with it"
)
#: By suffix, as wrangler's default rules have them.
_TYPES: Final = {
    ".js": ESM,
    ".mjs": ESM,
    ".cjs": "application/javascript",
    ".json": "application/json",
    ".txt": "text/plain",
    ".html": "text/plain",
    ".sql": "text/plain",
    ".wasm": "application/wasm",
    ".bin": "application/octet-stream",
}
#: Of a folder: what a worker begins with, the first that is there.
_ENTRIES: Final = tuple(
    f"{folder}{name}{suffix}"
    for folder in ("", "src/")
    for name in ("index", "worker", "main")
    for suffix in (".js", ".mjs", ".ts", ".tsx")
)
MOST_BYTES: Final = 16 << 20

_COMMENTS: Final = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_SPECIFIERS: Final = re.compile(
    r"""(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)(["'])"""
    r"""(\.{1,2}/[^"'\n]{1,512}|[^"'\s(){};,=<>|&`]{1,512})\1"""
)
#: Modules of the platform, not of npm.
_BUILT_IN: Final = ("node:", "cloudflare:")

#: As npm's packages of esbuild's program are called.
_PLATFORM: Final = (
    f"linux-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"
)
_ESBUILD_S: Final = 120.0
ESBUILD_OPTIONS: Final = (
    "--bundle",
    "--format=esm",
    "--target=es2022",
    "--conditions=workerd,worker,browser",
    "--external:node:*",
    "--external:cloudflare:*",
    "--loader:.txt=text",
    "--loader:.html=text",
    "--loader:.sql=text",
    "--sourcemap=external",
    "--sources-content=false",
    "--log-level=warning",
    "--color=false",
)


class NoBundler(CliError):
    """Bundling needs what is not installed: no change of a source mends that."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """`name` is what other modules import it by, from the common folder of all."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Sources:
    main: str
    files: tuple[SourceFile, ...]
    #: On this disk, what it was made of.
    inputs: tuple[Path, ...]

    @property
    def size(self) -> int:
        """What runs, in bytes."""
        return sum(len(file.data) for file in self.files if file.content_type != SOURCE_MAP)


def is_javascript(path: Path) -> bool:
    """By its name, or as a folder."""
    return path.suffix in (*_SCRIPTS, *_TO_BUNDLE) or path.is_dir()


def read_sources(path: Path) -> Sources:
    """Of a file, or of a folder's own. Raises BadUsage for what can't be read; CliError when esbuild is needed and is
    not there, or says no.
    """
    main = entry_of(path) if path.is_dir() else path
    root = project_of(path)
    if main.suffix in _TO_BUNDLE:
        return _bundle(main, root, f"{main.name} is no JavaScript yet")
    collected = collect(main)
    for file, data in collected.items():
        packages = sorted({name for name in imported(data) if is_package(name)})
        if packages:
            importer = os.path.relpath(file, main.resolve().parent)
            return _bundle(main, root, f"{importer} imports {', '.join(packages[:3])} from npm")
    common = Path(os.path.commonpath([file.parent for file in collected]))
    files = tuple(
        SourceFile(file.relative_to(common).as_posix(), _TYPES[file.suffix], data)
        for file, data in collected.items()
    )
    return Sources(main.resolve().relative_to(common).as_posix(), files, tuple(collected))


def entry_of(folder: Path) -> Path:
    """Raises BadUsage."""
    for name in _ENTRIES:
        if (folder / name).is_file():
            return folder / name
    raise BadUsage(
        f"{folder}: there is no worker in this folder: index.js, worker.js or main.js, here or in src/, is what it"
        " begins with; or name the file"
    )


def collect(main: Path) -> dict[Path, bytes]:
    """`main` and what is reached from it by relative imports, each read once. What is not there is left out: if it is
    really imported, the host names it.
    """
    found: dict[Path, bytes] = {}
    waiting = [main.resolve()]
    left = MOST_BYTES
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        data = found[path] = read_file(path, at_most=left, what="module")
        left -= len(data)
        if path.suffix in (*_SCRIPTS, ".cjs"):
            near = (
                (path.parent / name).resolve() for name in imported(data) if name.startswith(("./", "../"))
            )
            # Of known kinds alone: no source makes us send whatever else lies on this disk.
            waiting += [each for each in near if each.suffix in _TYPES and each.is_file()]
    return found


def imported(source: bytes) -> Iterator[str]:
    """What `source` seems to import: pure, and no parser, so a string that looks like an import counts as one. One that
    ends in such a word does not: what would be taken for a specifier is code then.
    """
    text = _COMMENTS.sub("", source.decode("utf-8", "replace"))
    return (match[2] for match in _SPECIFIERS.finditer(text))


def is_package(specifier: str) -> bool:
    """Of npm, and so not on this worker's own disk."""
    return not specifier.startswith((".", "/", *_BUILT_IN)) and "://" not in specifier


def find_esbuild(near: Path) -> str | None:
    """The project's own, else the one on PATH."""
    for folder in near.resolve().parents:
        packages = folder / "node_modules"
        # The program itself rather than its script, which starts Node.js first.
        for own in (packages / "@esbuild" / _PLATFORM / "bin" / "esbuild", packages / ".bin" / "esbuild"):
            if own.is_file():
                return str(own)
    return shutil.which("esbuild")


def _is_wanted(root: Path) -> bool:
    """The project names esbuild, so it was only never installed."""
    try:
        return b'"esbuild"' in (root / "package.json").read_bytes()
    except OSError:
        return False


def project_of(path: Path) -> Path:
    """The folder by which its author knows the sources: that of npm's package.json, else the one that was named or
    worked in.
    """
    place = path.resolve()
    folder = place if place.is_dir() else place.parent
    package = next((each for each in (folder, *folder.parents) if (each / "package.json").is_file()), None)
    if package is not None or place.is_dir():
        return package or place
    here = Path.cwd()
    return here if folder.is_relative_to(here) else folder


def _bundle(main: Path, root: Path, why: str) -> Sources:
    if not main.is_file():
        raise BadUsage(f"{main}: there is no such file")
    esbuild = find_esbuild(main)
    if esbuild is None:
        install = "npm install" if _is_wanted(root) else "npm install --save-dev esbuild"
        raise NoBundler(
            f"{why}: it has to be bundled, and esbuild is not installed here",
            hint=f"{install} (in {root}), and try again",
        )
    with tempfile.TemporaryDirectory(prefix="tenantry-esbuild-") as folder:
        output = Path(folder) / f"{main.stem}.js"
        metafile = Path(folder) / "metafile.json"
        command = [esbuild, str(main), *ESBUILD_OPTIONS, f"--outfile={output}", f"--metafile={metafile}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_ESBUILD_S, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CliError(f"{esbuild} could not be run: {error}") from error
        if done.returncode != 0:
            # Its script would have the last word, on itself.
            words = done.stderr.partition("\nnode:child_process")[0].strip()
            raise CliError(f"esbuild says of {main.name}:\n{words[:4000]}")
        code, source_map = output.read_bytes(), output.with_name(f"{output.name}.map")
        files = [SourceFile(output.name, ESM, code)]
        if source_map.is_file():
            data = from_project(source_map.read_bytes(), source_map.parent.resolve(), root)
            files.append(SourceFile(source_map.name, SOURCE_MAP, data))
        inputs = inputs_of(metafile.read_bytes(), Path.cwd()) if metafile.is_file() else ()
        return Sources(output.name, tuple(files), inputs or (main.resolve(),))


def inputs_of(metafile: bytes, folder: Path) -> tuple[Path, ...]:
    """The files that went into a bundle, as esbuild tells of what it did in `folder`. Pure; what it made up itself
    (`<runtime>`, `(disabled):…`) is no file.
    """
    try:
        named = json.loads(metafile)["inputs"]
    except (ValueError, TypeError, KeyError):
        return ()
    return tuple(Path(os.path.normpath(folder / name)) for name in named if not name.startswith(("<", "(")))


def from_project(source_map: bytes, folder: Path, root: Path) -> bytes:
    """The map with its sources named from the project's folder on; as it lies in `folder`, it names them from there,
    with all that is on the way. Pure. One that can't be read is left as it is.
    """
    try:
        told = json.loads(source_map)
        sources = [os.path.relpath(os.path.join(folder, source), root) for source in told["sources"]]
    except (ValueError, TypeError, KeyError):
        return source_map
    told["sources"] = [Path(source).as_posix() for source in sources]
    return json.dumps(told, separators=(",", ":")).encode()
