"""What several commands take: typed arguments, and the options that say which host to speak to.

Names are parsed here with the rules of `model.identity`, the host's own, so that a mistyped one is a usage
error with the same words and no round trip.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from cli.client import ApiClient
from cli.errors import ApiError, BadUsage, CliError, NoToken
from cli.settings import CLIENT
from model.identity import (
    InvalidName,
    parse_account_id,
    parse_binding_name,
    parse_namespace_name,
    parse_script_name,
    parse_tag,
    parse_tenant_id,
)

P = ParamSpec("P")
R = TypeVar("R")

_ROWS = {row.name: row for row in CLIENT}
#: A file of a token is one line; more is another file.
_TOKEN_BYTES = 4096


class Name(click.ParamType[str]):
    """A name that one of model.identity's parsers accepts."""

    def __init__(self, name: str, parse: Callable[[str], str]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return self._parse(value)
        except InvalidName as error:
            self.fail(str(error), param, ctx)


class _Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE; the name is a binding's, the value is anything, empty too."""

    def __init__(self, value_name: str, parse_name: Callable[[str], str] = parse_binding_name) -> None:
        self.name = f"NAME={value_name}"
        self._parse_name = parse_name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, rest = value.partition("=")
        if not equals:
            self.fail(f"{value[:80]!r} has no '='; right would be {self.name}", param, ctx)
        try:
            return self._parse_name(name), rest
        except InvalidName as error:
            self.fail(str(error), param, ctx)


def _namespace_or_dash(text: str) -> str:
    return text if text == "-" else parse_namespace_name(text)


NAMESPACE = Name("NAMESPACE", parse_namespace_name)
#: `-` stands for "no namespace": the account's plain scripts.
NAMESPACE_OR_DASH = Name("NAMESPACE", _namespace_or_dash)
SCRIPT = Name("SCRIPT", parse_script_name)
TENANT = Name("TENANT", parse_tenant_id)
TAG = Name("TAG", parse_tag)
BINDING = Name("NAME", parse_binding_name)
ACCOUNT = Name("ACCOUNT", parse_account_id)


def pair(value_name: str, parse_name: Callable[[str], str] = parse_binding_name) -> _Pair:
    return _Pair(value_name, parse_name)


def header_pair() -> _Pair:
    """NAME=VALUE where the name is a header's; the host checks it."""
    return _Pair("VALUE", lambda name: name)


namespace_argument = click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="NS")
script_argument = click.argument("script", type=SCRIPT, metavar="NAME")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
force_option = click.option(
    "--force", is_flag=True, help="Delete it although something stands on it, which then goes too."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask on a terminal.")


def plain(namespace: str) -> str | None:
    """The namespace that an argument names: None for `-`."""
    return None if namespace == "-" else namespace


def label(namespace: str | None, script: str) -> str:
    """How commands write a script: NS/NAME, and -/NAME for a plain one, as they take it."""
    return f"{namespace or '-'}/{script}"


def client_command(function: Callable[Concatenate[ApiClient, P], R]) -> Callable[P, R]:
    """Give a command --url, --account and --data, and an ApiClient made of them as its first argument."""

    def connected(connect: Callable[[], ApiClient], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(connect(), *args, **kwargs)

    return lazy_client_command(functools.update_wrapper(connected, function))


def lazy_client_command(
    function: Callable[Concatenate[Callable[[], ApiClient], P], R],
) -> Callable[P, R]:
    """As client_command, for a command that may do without a host: what it gets makes the ApiClient, or raises
    NoToken.
    """

    @click.option("--url", default=_ROWS["url"].default, envvar="TENANTRY_URL", help=_ROWS["url"].help)
    @click.option(
        "--account", type=ACCOUNT, default="default", envvar="TENANTRY_ACCOUNT", help=_ROWS["account"].help
    )
    @click.option(
        "--data",
        type=click.Path(path_type=Path),
        envvar="TENANTRY_DATA",
        help="Take the admin token from this data folder.",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, url: str, account: str, data: Path | None, **kwargs: Any) -> R:
        source = click.get_current_context().get_parameter_source("data")

        def connect() -> ApiClient:
            token = find_token(data, given=source is ParameterSource.COMMANDLINE)
            return ApiClient(url, token, account)

        return function(connect, *args, **kwargs)

    return wrapped  # type: ignore[return-value]  # click passes the three options by keyword


def find_token(data: Path | None, *, given: bool) -> str:
    """The token to send: of --data when it was `given`, else TENANTRY_TOKEN, else of TENANTRY_DATA.

    Raises NoToken, saying the ways to have one.
    """
    token = os.environ.get("TENANTRY_TOKEN", "").strip()
    if token and not given:
        return check_token(token, "TENANTRY_TOKEN")
    if data is None:
        raise NoToken(
            "no API token",
            hint="set TENANTRY_TOKEN, or pass --data DIR (or TENANTRY_DATA) to use the admin token of that "
            "data folder",
        )
    path = data / "admin-token"
    try:
        with path.open("rb") as file:
            text = file.read(_TOKEN_BYTES + 1).decode("ascii").strip()
    except UnicodeDecodeError:
        raise NoToken(f"{path} holds no token: it has bytes that are not ASCII") from None
    except OSError as error:
        raise NoToken(
            f"cannot read the admin token {path}: {error.strerror}",
            hint="the first `tenantry serve --data DIR` writes it; "
            "`tenantry token create --local --data DIR` makes another token",
        ) from error
    return check_token(text, str(path))


def check_token(text: str, source: str) -> str:
    """A token goes into a header: printable ASCII without spaces, at most 4 KiB. Raises NoToken."""
    if not text or len(text) > _TOKEN_BYTES or not all("!" <= char <= "~" for char in text):
        raise NoToken(f"{source} holds no token: one word of printable ASCII is right")
    return text


def read_file(path: Path, *, at_most: int, what: str) -> bytes:
    """The bytes of a file that the command line named, `-` for stdin.

    Raises BadUsage when it can't be read or is larger than `at_most` bytes.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(at_most + 1)
        else:
            with path.open("rb") as file:
                data = file.read(at_most + 1)
    except OSError as error:
        raise BadUsage(f"cannot read the {what} {path}: {error.strerror}") from error
    if len(data) > at_most:
        raise BadUsage(f"the {what} {path} is larger than {at_most} bytes, the most the host takes")
    return data


def delete_unless_used(client: ApiClient, path: str, *, force: bool) -> Any:
    """DELETE what the host keeps while something stands on it, unless `force`; the result."""
    try:
        return client.delete(path, {"force": "true"} if force else None)
    except ApiError as error:
        if error.status == 409 and not force:
            error.hint = "--force deletes it all the same, and what stands on it"
        raise


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; a script that names what to delete has been asked already."""
    if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
        raise CliError("nothing was changed")
