"""docs/policy-testing.md: its files are files, its commands run, and say what the page says they say."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path

import pytest

from cli.commands.policy import command
from outbound import policy_cases
from outbound.policy_cases import parse_cases
from outbound.policy_replay import CUT_PATH
from tests.cli.conftest import Run, run
from tests.docs.pages import blocks, read, section

__all__ = ["run"]

PAGE = read("policy-testing.md")
#: Each with the language; an example's own indentation is the list's that it stands in.
BLOCKS = [(block.language, textwrap.dedent(block.text)) for block in blocks(PAGE)]


def written(folder: Path) -> None:
    """Every file of the page. Its first line is its name, and the line after it is line 1 of what is shown."""
    for language, text in BLOCKS:
        if language == "yaml":
            name, _, content = text.removeprefix("# ").partition("\n")
            (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("line", "output"),
    [
        (text, BLOCKS[number + 1][1])
        for number, (language, text) in enumerate(BLOCKS)
        if language == "sh" and number + 1 < len(BLOCKS) and BLOCKS[number + 1][0] == "text"
    ],
)
def test_each_command_says_what_the_page_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, output: str
) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    tenantry, *arguments = shlex.split(line)
    assert tenantry == "tenantry"
    assert run(*arguments).out.rstrip("\n") == output


def test_each_command_that_asks_a_host_is_one() -> None:
    lines = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
    assert {shlex.split(line)[2] for line in lines} == {"test", "coverage", "explain", "replay"}
    for line in lines:
        _, policy, name, *arguments = shlex.split(line)
        assert policy == "policy"
        assert command.commands[name].make_context(name, arguments).params


def test_every_field_of_a_case_is_in_the_reference() -> None:
    reference = section(PAGE, "## Reference")
    fields = {
        *policy_cases.TOP_FIELDS,
        *policy_cases.LAYER_FIELDS,
        *policy_cases.CASE_FIELDS,
        *policy_cases.REQUEST_FIELDS,
        *policy_cases.REDIRECT_FIELDS,
        *policy_cases.HEADER_FIELDS,
    }
    assert {name for name in fields if f"`{name}`" not in reference} == set()
    assert f"at most {policy_cases.MAX_CASES:,}" in reference
    assert f"at most {policy_cases.MAX_REDIRECTS}" in reference
    assert f"of a path {CUT_PATH:,} characters" in PAGE.replace("\n", " ")


def test_the_pages_cases_are_cases() -> None:
    parsed = [parse_cases(text) for language, text in BLOCKS if language == "yaml" and "\ncases:" in text]
    assert [len(each.cases) for each in parsed] == [4, 3]
