"""`tenantry policy replay`: what a changed policy would decide about requests that were made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage, ExitCode
from cli.fetched_policies import FetchedPolicies
from cli.kept_policies import egress_path
from cli.output import note, print_json, print_table, say
from cli.params import NAMESPACE_OR_DASH, TAG, TENANT, client_command, json_option
from cli.policy_files import FILE, read_policy
from cli.times import unix_ms_text

if TYPE_CHECKING:
    from outbound.policy_replay import Decision, Group, Recorded, Replay


@click.command()
@click.argument("new", type=FILE, metavar="NEW")
@click.option(
    "--namespace", type=NAMESPACE_OR_DASH, metavar="NS", required=True, help="Whose policy NEW is to be."
)
@click.option("--tag", type=TAG, help="NEW is to be the policy of this tag, beside the namespace's.")
@click.option("--tenant", type=TENANT, help="NEW is to be the policy of this tenant, beside the namespace's.")
@click.option(
    "--widen/--no-widen", default=None, help="Of --tag or --tenant; by default as the policy in force."
)
@click.option("--since", default="1d", help="From then on: 30m, 6h, 2d ago, or a time. 1d by default.")
@click.option("--until", help="Up to then.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000_000), default=100_000, help="How many, the newest ones."
)
@click.option("--fail-on-change", is_flag=True, help="Exit with 1 when a result would change.")
@json_option
@client_command
def replay(
    client: ApiClient,
    /,
    new: Path,
    namespace: str,
    tag: str | None,
    tenant: str | None,
    widen: bool | None,
    since: str,
    until: str | None,
    limit: int,
    fail_on_change: bool,
    as_json: bool,
) -> int:
    """Ask NEW about the decisions that the audit has on record, and list what would change, before it is set. The
    other policies are those in force now.

    What the audit does not hold (headers, query, long params) may decide: such answers are counted as unknown.

    \b
    Example:
      tenantry policy replay policy.yaml --namespace production --since 7d --fail-on-change
    """
    from outbound.policy_replay import Replay, Replayer, counted

    if tag is not None and tenant is not None:
        raise BadUsage("--tag and --tenant: one policy at a time; name one of them")
    if widen is not None and tag is None and tenant is None:
        raise BadUsage("--widen goes with --tag or --tenant: there is nothing that a namespace's could widen")
    policy = read_policy(new)
    now_s = time.time()
    query = {
        "tenant": tenant,
        "since": unix_ms_text(since, "--since", now_s),
        "until": unix_ms_text(until, "--until", now_s),
    }
    path = egress_path(client, namespace, "egress-audit")
    pages = client.cursor_pages(path, query, at_most=limit + 1)
    # Counted as they come: of what is alike one is kept.
    found = map(recorded, islice(pages, limit))
    records = counted(each for each in found if tag is None or _may_have(each, tag))
    complete = next(pages, None) is None
    fetched = FetchedPolicies(client, namespace)
    policies = fetched.of_records(
        (record for record, _ in records), policy, tag=tag, tenant=tenant, widen=widen
    )
    replayer, result = Replayer(policies), Replay()
    for record, count in records:
        result.add(record, replayer.replay(record), count)
    if as_json:
        print_json(_as_json(result, complete=complete))
    else:
        _show(result)
        if not complete:
            note(f"there are more: only the newest {limit:,} were asked about; --limit takes more")
    return ExitCode.REFUSED if fail_on_change and result.results else ExitCode.OK


def recorded(shown: Mapping[str, Any]) -> Recorded:
    """A record as the API shows it."""
    from outbound.policy import Result
    from outbound.policy_replay import Recorded

    egress = shown.get("egress")
    return Recorded(
        tenant=shown["tenant"],
        namespace=shown["namespace"] or "",
        script=shown["script"],
        ray_id=shown["ray_id"],
        method=shown["method"],
        scheme=shown["scheme"],
        host=shown["host"],
        port=shown["port"],
        path=shown["path"],
        result=Result(shown["result"]),
        layer=shown["layer"],
        rule=shown["rule"],
        reason=shown["reason"],
        policy_reason=shown["policy_reason"],
        address=shown["address"],
        tags=tuple(shown["tags"]),
        params=tuple(sorted(shown["params"].items())),
        egress_hosts=None if egress is None else tuple(egress),
        truncated=bool(shown["truncated"]),
    )


def _may_have(record: Recorded, tag: str) -> bool:
    return tag in record.tags or (record.truncated and not record.tags)


def _show(result: Replay) -> None:
    _table("would be decided otherwise", result.results)
    _table("same result, by another rule or for another reason", result.others)
    unknown = result.unknown
    if unknown:
        say("not known, since the audit does not hold what a rule asks for:")
        print_table(
            ("count", "host", "not held", "was", "ray"),
            [
                (f"{each.count:,}", each.host, ", ".join(sorted(each.missing)), _words(each.was), each.ray_id)
                for each in unknown
            ],
            empty="",
        )
        say("")
    changed, same = _count(result.results), _count(result.others)
    say(
        f"{result.total:,} decisions: {changed:,} would change, {same:,} by another rule, {result.unchanged:,} as "
        f"before, {_count(unknown):,} unknown, {result.not_asked:,} refused before the policy"
    )


def _table(title: str, groups: Sequence[Group]) -> None:
    if not groups:
        return
    say(f"{title}:")
    rows = [
        (f"{each.count:,}", each.host, _words(each.was), _words(each.now), each.ray_id)
        for each in groups
        if each.now is not None
    ]
    print_table(("count", "host", "was", "now", "ray"), rows, empty="")
    say("")


def _words(decision: Decision | None) -> str:
    if decision is None:
        return ""
    place = f"{decision.layer}/{decision.rule}" if decision.rule else decision.layer
    return " ".join(filter(None, (decision.result.value, place, decision.reason)))


def _count(groups: Iterable[Group]) -> int:
    return sum(group.count for group in groups)


def _as_json(result: Replay, *, complete: bool) -> dict[str, Any]:
    def decision(found: Decision | None) -> dict[str, str] | None:
        if found is None:
            return None
        return {
            "result": found.result,
            "layer": found.layer,
            "rule": found.rule,
            "reason": found.reason,
        }

    def rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
        return [
            {
                "host": each.host,
                "count": each.count,
                "was": decision(each.was),
                "now": decision(each.now),
                "not_held": sorted(each.missing),
                "ray_id": each.ray_id,
            }
            for each in groups
        ]

    return {
        "decisions": result.total,
        "unchanged": result.unchanged,
        "refused_before_policy": result.not_asked,
        "complete": complete,
        "changes": rows(result.results),
        "other_rules": rows(result.others),
        "unknown": rows(result.unknown),
    }
