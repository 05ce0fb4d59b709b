"""One table makes flags, environment names and docs/settings.md, and a bad value is named by where it stood."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import settings
from cli.commands.serve import command as serve_command
from cli.serve_settings import ServeSettings, serve_settings

ROOT = Path(__file__).parents[2]


def test_page_in_docs_is_what_the_table_makes() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings.page()


def test_serve_has_exactly_the_flags_of_the_table() -> None:
    flags = [flag for param in serve_command.params for flag in param.opts]
    assert flags == [row.flag for row in settings.SERVE if row.flag]


def test_settings_and_the_dataclass_have_the_same_names() -> None:
    assert [row.name for row in settings.SERVE] == list(ServeSettings.__dataclass_fields__)


def test_defaults() -> None:
    made = serve_settings({"data": "/srv/t"}, {})
    assert made.data == Path("/srv/t")
    assert (str(made.http), str(made.control)) == ("127.0.0.1:8787", "127.0.0.1:8788")
    assert made.workers >= 1
    assert made.resolver is None
    assert made.root_key_file is None
    assert (made.log_level, made.drain_s) == ("info", 30.0)


def test_flag_wins_over_environment_and_environment_over_default() -> None:
    environment = {"TENANTRY_DATA": "/env", "TENANTRY_WORKERS": "3", "TENANTRY_LOG_LEVEL": ""}
    made = serve_settings({"data": "/flag"}, environment)
    assert made.data == Path("/flag")
    assert made.workers == 3
    assert made.log_level == "info"  # an empty variable is an unset one


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("workers", "0", "--workers"),
        ("workers", "1025", "1 to 1024"),
        ("workers", "two", "1 to 1024"),
        ("control", "0.0.0.0:8788", "loopback only"),
        ("control", "10.0.0.1:8788", "loopback only"),
        ("resolver", "127.0.0.1:0", "1 to 65535"),
        ("log_level", "chatty", "debug, info, warning, error"),
        ("confinement", "maybe", "on, off, require"),
        ("accelerator", "maybe", "auto, on, off"),
        ("drain_s", "-1", "0 to 3600"),
        ("drain_s", "nan", "0 to 3600"),
        ("root_key_file", "", "empty path"),
    ],
)
def test_bad_value_is_named_with_its_flag(name: str, text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        serve_settings({"data": "/d", name: text}, {})
    assert str(caught.value).startswith("--")


def test_bad_environment_is_named_by_its_variable() -> None:
    with pytest.raises(ValueError, match=r"^TENANTRY_HTTP: 'x'"):
        serve_settings({"data": "/d"}, {"TENANTRY_HTTP": "x"})


def test_data_folder_is_required() -> None:
    with pytest.raises(ValueError, match=r"^--data \(or TENANTRY_DATA\) is missing"):
        serve_settings({}, {})


def test_one_address_for_both_listeners_is_refused() -> None:
    with pytest.raises(ValueError, match="a port of its own"):
        serve_settings({"data": "/d", "http": "127.0.0.1:8788"}, {})
