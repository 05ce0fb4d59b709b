"""The options that say what a worker is bound to: of `tenantry deploy`, and of `tenantry dev`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from cli.commands.secrets import read_secret, read_stdin_text
from cli.deployment import parse_secret_lines
from cli.params import BINDING, pair

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--var", "variables", type=pair("VALUE"), multiple=True, help="A variable; repeatable."),
    click.option(
        "--secret",
        "secret_names",
        type=BINDING,
        multiple=True,
        help="A secret; repeatable. Values come on stdin: one NAME=VALUE a line, or just the value of a "
        "single one. A terminal asks for them.",
    ),
    click.option(
        "--kv", type=pair("TITLE"), multiple=True, help="A KV namespace, made when missing; repeatable."
    ),
    click.option(
        "--d1", type=pair("DATABASE"), multiple=True, help="A SQL database, made when missing; repeatable."
    ),
    click.option(
        "--queue", "queues", type=pair("QUEUE"), multiple=True, help="A queue, made when missing; repeatable."
    ),
    click.option(
        "--service",
        "services",
        type=pair("SCRIPT[#EXPORT]"),
        multiple=True,
        help="Another worker, or an entry point that one in JavaScript exports; repeatable.",
    ),
    click.option(
        "--tail",
        "tails",
        multiple=True,
        metavar="SCRIPT",
        help="A worker with a `tail` handler, to be told what becomes of this one's events; repeatable.",
    ),
    click.option(
        "--dispatch",
        type=pair("NS"),
        multiple=True,
        help="A dispatch namespace whose workers it may call, made when missing; repeatable.",
    ),
    click.option(
        "--cache",
        "caches",
        type=pair("CACHE"),
        multiple=True,
        help="A cache of the tenant's, by name; repeatable.",
    ),
    click.option(
        "--analytics",
        "datasets",
        type=pair("DATASET"),
        multiple=True,
        help="A dataset for data points, by name; repeatable.",
    ),
    click.option(
        "--rate-limit",
        "rate_limits",
        type=pair("LIMIT/SECONDS"),
        multiple=True,
        help="How often a key may be used, in 10 or 60 seconds; repeatable.",
    ),
    click.option(
        "--compatibility-flag",
        "flags",
        multiple=True,
        metavar="NAME",
        help="For JavaScript: nodejs_compat, for globals and modules of Node.js; repeatable.",
    ),
    click.option(
        "--warm-up",
        metavar="PATH",
        help="For JavaScript: answer a GET of this path once, and begin each request with what that left.",
    ),
    click.option(
        "--limit", "limits", type=pair("NUMBER"), multiple=True, help="Such as cpu_ms=200; repeatable."
    ),
)


def worker_options(function: F) -> F:
    """Give a command the options, under the names of Deployment's fields; of secrets their names, as `secret_names`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def worker_fields(given: dict[str, Any]) -> dict[str, Any]:
    """What the options gave, as Deployment's fields; the values of secrets are read. Raises BadUsage."""
    fields = dict(given)
    return fields | {"secrets": _read_secrets(fields.pop("secret_names"))}


def _read_secrets(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    if sys.stdin.isatty():
        return {name: read_secret(name) for name in names}
    return parse_secret_lines(names, read_stdin_text())
