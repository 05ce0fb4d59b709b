"""Secrets on their way to an upstream, and kept from coming back. Pure.

What an upstream answers in headers is cleaned of the secret that it was sent, in the spellings that software
gives it: as it is, in base64 (alone, or with something before it as in Basic credentials, or taken out of it),
percent-encoded once or twice, in hexadecimal, and as JSON and HTML escape it. Bodies are not read: an upstream
that reflects a header in a body reveals it, and so does one that means to, in a spelling of its own.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

from model.messages import Header, Headers
from outbound.rule_actions import SecretInjection
from outbound.target import Target

REMOVED: Final = b"[removed]"
#: A spelling shorter than this is found in anything; the secret as it is counts whatever its length.
_SHORTEST_SPELLING: Final = 4
_SHORTEST_ENCODED: Final = 8
#: Of Basic credentials: a password alone that is shorter is found in anything.
_SHORTEST_PASSWORD: Final = 6

_BAD_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class SecretUnusable(Exception):
    """The value can't stand in a header. The message names the secret and never holds its value."""


def leaves_in_the_clear(injections: Sequence[SecretInjection], target: Target) -> SecretInjection | None:
    """The first that would go without TLS although nobody said that it may."""
    if target.scheme == "https":
        return None
    return next((one for one in injections if not one.allow_plaintext), None)


def header_of(injection: SecretInjection, secret: str) -> Header:
    """Raises SecretUnusable."""
    value = injection.template.replace("{secret}", secret)
    if not secret or _BAD_IN_HEADER.search(value) or not value.isascii():
        raise SecretUnusable(
            f"the egress secret {injection.secret!r} is empty, or has a character that no header may have; set it anew"
        )
    return injection.header.encode("ascii"), value.encode("ascii")


class Redactor:
    """Takes what was injected out of what goes to the worker, and out of messages."""

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets for spelling in spellings_of(secret)}
        longest_first = sorted(spellings, key=lambda one: (-len(one), one))
        # Whatever the case: names of headers come back in lower case, and other software has habits of its own.
        self._pattern = re.compile(b"|".join(re.escape(one) for one in longest_first), re.IGNORECASE)

    def headers(self, headers: Headers) -> list[Header]:
        """A header whose very name is a secret is left out."""
        clean = self._pattern.sub
        return [(name, clean(REMOVED, value)) for name, value in headers if not self._pattern.search(name)]

    def text(self, text: str) -> str:
        return self._pattern.sub(REMOVED, text.encode("utf-8", "replace")).decode("utf-8", "replace")


def spellings_of(secret: str) -> set[bytes]:
    """But for the case of letters."""
    found: set[bytes] = set()
    for text in (secret, *_inside(secret)):
        found |= _spellings(text)
    return {one for one in found if len(one) >= _SHORTEST_SPELLING} | {secret.encode("utf-8")}


def _inside(secret: str) -> list[str]:
    """What a secret that is base64 holds: Basic credentials are taken apart by whoever reads them."""
    if len(secret) % 4 or len(secret) < _SHORTEST_ENCODED:
        return []
    try:
        text = base64.b64decode(secret, validate=True).decode("ascii")
    except ValueError:
        return []
    if not text.isprintable():
        return []
    _, colon, password = text.partition(":")
    return [text, password] if colon and len(password) >= _SHORTEST_PASSWORD else [text]


def _spellings(secret: str) -> set[bytes]:
    plain = secret.encode("utf-8")
    found = {plain, json.dumps(secret)[1:-1].encode("ascii"), html.escape(secret).encode("utf-8")}
    for encoded in (quote(secret, safe=""), quote_plus(secret), quote(secret)):
        found.add(encoded.encode("ascii"))
        found.add(quote(encoded, safe="").encode("ascii"))
    found.add(plain.hex().encode("ascii"))
    for before in range(3):
        # In base64 three bytes are four characters: what stands before the secret shifts it. The characters
        # that hold bits of a neighbour are left out.
        first, last = (0, 2, 3)[before], (len(plain) + before) * 8 // 6
        text = base64.b64encode(b"\0" * before + plain).rstrip(b"=")[first:last]
        found.add(text)
        found.add(text.replace(b"+", b"-").replace(b"/", b"_"))
        found.add(quote(text, safe="").encode("ascii"))
    return found
