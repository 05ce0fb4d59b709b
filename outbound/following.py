"""Whether a redirect is followed, and what is asked for then. Pure.

Each one that is followed is a request of its own: whoever follows judges it like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.messages import Header, Headers
from outbound import redirects
from outbound.reasons import Reason
from outbound.refusal import Refused
from outbound.target import InvalidTarget, Target, parse_target


@dataclass(frozen=True, slots=True)
class Way:
    """The redirects of one fetch that were followed so far."""

    redirects: int = 0
    #: One led to another origin: no secret is injected any more, wherever the way leads then.
    crossed: bool = False
    #: (method, where) of each that redirected.
    seen: frozenset[tuple[str, Target]] = frozenset()


START: Final = Way()


@dataclass(frozen=True, slots=True)
class Sent:
    """The request that was answered. `headers` are the worker's own; `body_is_here`: it has none, or one that
    can be sent a second time.
    """

    target: Target
    method: str
    headers: Headers
    body_is_here: bool = True


@dataclass(frozen=True, slots=True)
class Following:
    """The request that a redirect asks for. `url` was parsed once, and is again."""

    url: str
    method: str
    headers: list[Header]
    keeps_body: bool
    way: Way


def follow(most: int, way: Way, sent: Sent, status: int, answer: Headers) -> Following | None:
    """What an answer with these headers asks for, where the rule follows `most` redirects; None hands the
    answer to the worker. Raises Refused.
    """
    if not most:
        return None
    here = sent.target
    try:
        redirect = redirects.read_redirect(status, answer, here, sent.method)
        if redirect is None or (redirect.keeps_body and not sent.body_is_here):
            return None
        there = parse_target(redirect.url)
    except InvalidTarget as error:
        raise Refused(error.reason, f"{here.host} redirects, and {error.message}") from error
    except ValueError as error:
        raise Refused(Reason.UPSTREAM_FAILED, str(error)) from error
    seen = way.seen | {(sent.method, here)}
    if redirects.is_downgrade(here, there):
        raise Refused(
            Reason.REDIRECT_DOWNGRADE, f"{here.host} redirects from https to http, which is not followed"
        )
    if (redirect.method, there) in seen:
        raise Refused(Reason.REDIRECT_LIMIT, f"{here.host} redirects in a circle")
    if way.redirects >= most:
        raise Refused(
            Reason.REDIRECT_LIMIT, f"more than {most} redirects, the egress policy's follow_redirects"
        )
    crosses = not redirects.same_origin(here, there)
    return Following(
        redirect.url,
        redirect.method,
        redirects.headers_along(sent.headers, crosses=crosses, keeps_body=redirect.keeps_body),
        redirect.keeps_body,
        Way(way.redirects + 1, way.crossed or crosses, seen),
    )
