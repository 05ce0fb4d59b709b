"""What the README tells a newcomer to type exists: make targets, commands, options, files, languages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import command as program_of_all
from model.hostname import parse_host
from tests.docs.pages import DOCS, ROOT, Block, blocks, section, tables

README = (ROOT / "README.md").read_text()
FIRST = section(README, "## A first worker in five minutes")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n.*?\n\1(?:\n|$)", re.DOTALL)


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words of each command; here-documents left out, continued lines joined."""
    text = _HERE_DOCUMENT.sub("\n", block.text).replace("\\\n", " ")
    for line in text.splitlines():
        for part in re.split(r"\s(?:\||&&)\s", line):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def shell_blocks(path: Path) -> list[Block]:
    return [block for block in blocks(path.read_text()) if block.language == "sh"]


def check_tenantry(words: list[str]) -> None:
    """That the command and each option of it exist."""
    command: click.Command = program_of_all
    context = click.Context(command, info_name="tenantry")
    rest = words
    while isinstance(command, click.Group):
        if type(command).parse_args is not click.Group.parse_args and (not rest or rest[0][0] == "-"):
            rest = ["list", *rest]  # such a group lists what it is about
        assert rest, f"{shlex.join(words)}: a subcommand is missing"
        found = command.get_command(context, rest[0])
        assert found is not None, f"{shlex.join(words)}: there is no command {rest[0]!r}"
        context = click.Context(found, parent=context, info_name=rest[0])
        command, rest = found, rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known | {"--help"}, f"{shlex.join(words)}: no option {word}"


def test_the_first_worker_is_made_of_runnable_blocks_only() -> None:
    shell = [block for block in blocks(FIRST) if block.language == "sh"]
    assert len(shell) >= 5
    assert all(block.runnable for block in shell)


def test_the_first_worker_comes_in_two_languages() -> None:
    text = "".join(block.text for block in blocks(FIRST))
    assert "ziglang cc" in text
    assert "ziglang build-exe" in text


@pytest.mark.parametrize("block", [b for b in blocks(README) if b.runnable], ids=lambda b: b.text[:30])
def test_a_runnable_block_names_what_exists(block: Block) -> None:
    for words in command_lines(block):
        program = words[0]
        if program == "make":
            assert words[1] in TARGETS
        elif program.endswith("tenantry"):
            assert program == ".venv/bin/tenantry"
            check_tenantry(words[1:])
        elif program.endswith("python"):
            assert words[1:3] in (["-m", "pip"], ["-m", "ziglang"])
        elif program == "curl":
            host = words[words.index("-H") + 1].removeprefix("Host: ")
            assert parse_host(host.encode()).name in text_of_deploys()
        else:
            assert program in ("mkdir", "cat", "export")
    for source in re.findall(r"sample_workers/[\w/.]+", block.text):
        assert (ROOT / source).exists()


def text_of_deploys() -> str:
    return "".join(block.text for block in blocks(FIRST) if " deploy " in block.text)


def test_what_is_built_is_what_is_deployed() -> None:
    text = "".join(block.text for block in blocks(FIRST))
    built = set(re.findall(r"(?:-o |-femit-bin=)(build/first/\w+\.wasm)", text))
    assert built == set(re.findall(r"deploy (build/first/\w+\.wasm)", text))
    assert built


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((ROOT / "sample_workers").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_tenantry_command_in_a_shell_block_exists(page: Path) -> None:
    for block in shell_blocks(page):
        for words in command_lines(block):
            if words[0].endswith("tenantry"):
                check_tenantry(words[1:])


def test_the_make_targets_that_it_names_exist() -> None:
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert target in TARGETS


def test_each_package_has_a_row() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"sample_workers", "benchmarks"}
    text = "\n".join(row[0] for rows in tables(README) for row in rows)
    assert {name for name in folders if f"`{name}/`" not in text} == set()


def test_the_set_up_is_one_line_of_apt() -> None:
    (line,) = [b.text for b in blocks(README) if b.text.startswith("apt ")]
    assert line == "apt install make git python3-venv"
