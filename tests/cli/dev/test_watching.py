"""Which change of which file leads to another deployment."""

from __future__ import annotations

import os
from pathlib import Path

from cli.dev.watching import changed, look, sources_below, watched


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_written_replaced_made_and_deleted_files_have_changed_and_others_have_not(tmp_path: Path) -> None:
    written, replaced, deleted, same = (write(tmp_path / name, "x") for name in "abcd")
    made = tmp_path / "e"
    paths = [written, replaced, deleted, same, made]
    before = look(paths)
    written.write_text("xy")
    # As editors do: another file of the same size and time, under the name.
    os.utime(write(tmp_path / "new", "y"), ns=(replaced.stat().st_atime_ns, replaced.stat().st_mtime_ns))
    (tmp_path / "new").rename(replaced)
    deleted.unlink()
    made.write_text("x")
    assert changed(before, before) == []
    assert changed(before, look(paths)) == [written, replaced, deleted, made]


def test_a_folder_has_not_changed_with_what_is_written_into_it(tmp_path: Path) -> None:
    before = look([tmp_path])
    write(tmp_path / "a", "x")
    assert changed(before, look([tmp_path])) == []


def test_a_file_that_was_written_while_it_was_bundled_has_changed(tmp_path: Path) -> None:
    main = write(tmp_path / "index.ts", "old")
    before = look([main])
    main.write_text("newer")  # esbuild may have read it before
    seen = watched(before, [main], tmp_path)
    assert changed(seen, look(seen)) == [main]


def test_what_a_worker_is_made_of_is_watched_and_what_decides_how(tmp_path: Path) -> None:
    main, other, lone = (write(tmp_path / name, "x") for name in ("index.ts", "lib/a.ts", "lone.ts"))
    seen = watched(look([main, lone]), [main, other], tmp_path)
    assert set(seen) == {main, other, tmp_path / "package.json", tmp_path / "tsconfig.json"}
    write(tmp_path / "tsconfig.json", "{}")
    lone.write_text("changed, and nobody imports it")
    assert changed(seen, look(seen)) == [tmp_path / "tsconfig.json"]


def test_sources_are_found_and_neither_packages_nor_what_is_hidden(tmp_path: Path) -> None:
    for name in (
        "src/a.ts",
        "b.js",
        "c/d/page.html",
        "node_modules/x/i.js",
        ".tenantry/dev/x.json",
        "README.md",
    ):
        write(tmp_path / name, "x")
    found = {path.relative_to(tmp_path).as_posix() for path in sources_below(tmp_path)}
    assert found == {"src/a.ts", "b.js", "c/d/page.html"}


def test_of_a_folder_with_a_whole_disk_in_it_a_part_is_looked_at(tmp_path: Path) -> None:
    for folder in range(30):
        for number in range(100):
            write(tmp_path / f"{folder:02}" / f"{number}.js", "")
    assert 1_900 < len(list(sources_below(tmp_path))) < 2_100
