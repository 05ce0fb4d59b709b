"""Rules give what is named, and nothing that is hidden, wherever it lies."""

from __future__ import annotations

from pathlib import Path

from processes.landlock import READ, readable


def names(paths: list[Path], hidden: list[Path], root: Path) -> set[str]:
    rules = readable(paths, hidden)
    assert {rule.rights for rule in rules} <= {READ}
    assert len({rule.path for rule in rules}) == len(rules)
    return {str(rule.path.relative_to(root.resolve())) for rule in rules}


def tree(root: Path) -> Path:
    for name in (
        "app/lib/a.py",
        "app/data/root-key",
        "app/data/kv.db",
        "app/main.py",
        "etc/hosts",
        "etc/key",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folder_without_a_secret_is_one_rule(tmp_path: Path) -> None:
    tree(tmp_path)
    assert names([tmp_path / "app"], [tmp_path / "etc"], tmp_path) == {"app"}


def test_folder_with_a_secret_is_replaced_by_what_else_is_in_it(tmp_path: Path) -> None:
    tree(tmp_path)
    hidden = [tmp_path / "app/data", tmp_path / "etc/key"]
    assert names([tmp_path], hidden, tmp_path) == {"app/lib", "app/main.py", "etc/hosts"}


def test_the_secret_itself_and_all_beneath_it_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path)
    asked = [tmp_path / "app/data", tmp_path / "app/data/kv.db"]
    assert names(asked, [tmp_path / "app/data"], tmp_path) == set()


def test_links_are_followed_before_anything_is_decided(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "app/lib/link").symlink_to(tmp_path / "app/data")
    (tmp_path / "way").symlink_to(tmp_path / "app/data")
    hidden = [tmp_path / "app/data/root-key"]
    assert names([tmp_path / "way"], hidden, tmp_path) == {"app/data/kv.db"}
    assert names([tmp_path / "app/lib"], [tmp_path / "way"], tmp_path) == {"app/lib"}


def test_a_secret_that_is_not_there_yet_is_kept_out_too(tmp_path: Path) -> None:
    tree(tmp_path)
    assert names([tmp_path / "etc"], [tmp_path / "etc/later"], tmp_path) == {"etc/hosts", "etc/key"}


def test_what_is_not_there_needs_no_rule(tmp_path: Path) -> None:
    assert names([tmp_path / "none"], [tmp_path / "none/key"], tmp_path) == set()
