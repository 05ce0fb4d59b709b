"""Two spellings of a path that an origin may treat as one reach one worker; nothing steps out of a prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.paths import has_prefix, normalise_path, normalise_prefix


@pytest.mark.parametrize(
    ("sent", "compared"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/b/c/./../../g", "/a/g"),  # RFC 3986 §5.2.4's own example
        ("/.well-known/x", "/.well-known/x"),  # a dot that begins a name is no dot segment
        ("/a/...", "/a/..."),
        ("/%61pi", "/api"),  # unreserved: decoded
        ("/%7Euser", "/~user"),
        ("/a%2fb", "/a%2Fb"),  # a slash that is data is no border
        ("/a%2Fb", "/a%2Fb"),
        ("/a/%2e%2e/b", "/b"),  # encoded dots are dots
        ("/a/%2E./b", "/b"),
        ("/a/..%2fb", "/a/..%2Fb"),
        ("/%252e%252e/b", "/%252e%252e/b"),  # decoded once, not twice
        ("/%zz/%", "/%zz/%"),
        ("/%c3%a4", "/%C3%A4"),
        ("/a\\..\\b", "/a\\..\\b"),  # a backslash is a byte
        ("//a", "//a"),  # an empty segment is a segment
        ("//a/..", "//"),
        ("*", "*"),
    ],
)
def test_normalised(sent: str, compared: str) -> None:
    assert normalise_path(sent) == compared


@given(st.text(alphabet="ab./%2eEfF\\", max_size=40))
def test_normalising_is_stable_and_leaves_no_dot_segment(text: str) -> None:
    once = normalise_path("/" + text)
    assert once.startswith("/")
    assert not {".", ".."} & set(once.split("/"))
    # "%%32e" may spell a new triplet once decoded; without a bare "%" the second time changes nothing.
    if "%%" not in text and "%" not in once:
        assert normalise_path(once) == once


def test_a_long_path_is_not_kept_but_normalised_all_the_same() -> None:
    assert normalise_path("/a/../" + "b" * 10_000) == "/" + "b" * 10_000


@pytest.mark.parametrize(
    ("path", "prefix", "below"),
    [
        ("/api", "/api", True),
        ("/api/", "/api", True),
        ("/api/x", "/api", True),
        ("/apifoo", "/api", False),
        ("/ap", "/api", False),
        ("/API", "/api", False),  # paths have case
        ("/api%2Fx", "/api", False),
        ("/x", "", True),
        ("/", "", True),
    ],
)
def test_prefixes_end_on_segment_borders(path: str, prefix: str, below: bool) -> None:
    assert has_prefix(path, prefix) is below


@pytest.mark.parametrize(("given", "kept"), [("/api/", "/api"), ("/", ""), ("", ""), ("/a/../b", "/b")])
def test_prefix_spelling(given: str, kept: str) -> None:
    assert normalise_prefix(given) == kept
