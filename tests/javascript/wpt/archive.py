"""The tests' files: web-platform-tests as they come along in the sources of Node.js that Debian keeps, pinned by digest.

No package registry has the tests by themselves. The archive is fetched by apt from where this machine has its Debian
packages from, into build/, once; nothing of it is committed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

#: Of Debian 13: its sources stay where they are for as long as the release is kept.
_SUITE: Final = "trixie"
_PACKAGE: Final = "nodejs"
_DIGEST: Final = "5e5559381ad031d245a8efa403458abbb73755f74c3e6380f185a4dd342b7949"
#: In the archive, below its one folder.
_INSIDE: Final = "test/fixtures/wpt/"
#: What pages need; the rest is a third of the archive's files.
_FOLDERS: Final = (
    *("FileAPI", "WebCryptoAPI", "common", "console", "dom", "encoding", "fetch", "hr-time", "html"),
    *("interfaces", "resources", "streams", "url", "webidl"),
)
_BUILD: Final = Path(__file__).parents[3] / "build" / "wpt"
_SOURCES: Final = Path("/etc/apt")
_SECONDS: Final = 300


class NoArchive(Exception):
    """The archive could not be had; the text says why and what to do."""


@functools.cache
def folder_of_tests() -> Path:
    """Where the tests are. Skips where they can't be had, or fails in CI."""
    try:
        return _unpacked(_BUILD / _DIGEST[:16])
    except NoArchive as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def source_entry(texts: Iterable[str], suite: str) -> str | None:
    """A list of sources for apt, made of the first entry that has Debian's own packages; None where there is none.

    Entries are of either form that apt knows. Where packages come from is the machine's business, and is not said here.
    """
    for text in texts:
        for line in text.splitlines():
            if found := re.match(
                r"deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+/debian/?)\s+\S+\s+.*\bmain\b", line
            ):
                signed = re.search(r"signed-by=(\S+)", found["options"] or "")
                return _deb822(found["uri"], suite, signed and signed[1])
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([A-Za-z-]+): *(.*?) *$", stanza, re.M))
            uri = next((u for u in fields.get("URIs", "").split() if u.rstrip("/").endswith("/debian")), None)
            if (
                uri
                and "deb" in fields.get("Types", "").split()
                and "main" in fields.get("Components", "").split()
            ):
                return _deb822(uri, suite, fields.get("Signed-By"))
    return None


def _deb822(uri: str, suite: str, signed_by: str | None) -> str:
    lines = ["Types: deb-src", f"URIs: {uri}", f"Suites: {suite}", "Components: main"]
    return "\n".join([*lines, *([f"Signed-By: {signed_by}"] if signed_by else [])]) + "\n"


def _unpacked(target: Path) -> Path:
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = _download(Path(folder))
        ready = Path(folder) / "tests"
        with tarfile.open(archive) as packed:
            for member in packed:
                inside = member.name.partition("/")[2]
                name = inside.removeprefix(_INSIDE)
                if (
                    name != inside
                    and name.startswith(tuple(f"{one}/" for one in _FOLDERS))
                    and member.isfile()
                ):
                    packed.extract(member.replace(name=name), ready, filter="data")
        try:
            ready.rename(target)
        except OSError:  # another test process was first
            if not target.is_dir():
                raise
    return target


def _download(folder: Path) -> Path:
    """The archive, in `folder`."""
    files = [_SOURCES / "sources.list", *sorted(_SOURCES.glob("sources.list.d/*"))]
    entry = source_entry([file.read_text() for file in files if file.is_file()], _SUITE)
    if entry is None or shutil.which("apt-get") is None:
        raise NoArchive(
            "web-platform-tests come with Debian's sources: this machine has no Debian packages to get"
        )
    (folder / "tests.sources").write_text(entry)
    for name in ("lists/partial", "cache/archives/partial", "out"):
        (folder / name).mkdir(parents=True)
    options = {
        "Dir::Etc::sourcelist": folder / "tests.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], folder)
    _run([*apt, "source", "--download-only", "--tar-only", _PACKAGE], folder / "out")
    for archive in (folder / "out").glob("*.orig.tar.*"):
        if hashlib.sha256(archive.read_bytes()).hexdigest() == _DIGEST:
            return archive
    raise NoArchive(
        f"Debian's {_PACKAGE} in {_SUITE} is another one than is pinned: pin it anew, record the counts"
    )


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NoArchive(f"apt-get took more than {_SECONDS} s to get web-platform-tests") from error
    if done.returncode:
        raise NoArchive("apt-get could not get web-platform-tests: " + done.stderr.strip()[-400:])
