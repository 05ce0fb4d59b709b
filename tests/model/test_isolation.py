"""Rule: each script has exactly one group, and a description that leaves that open is refused with a message
that says what would be right.
"""

from __future__ import annotations

import pytest

from model.identity import AccountId, NamespaceName, ScriptName, TenantId, VersionId
from model.isolation import (
    DEFAULT_GROUP,
    MAX_GROUPS,
    InvalidGroups,
    IsolationGroups,
    as_config,
    from_config,
    parse_groups,
)
from model.scripts import ScriptRef, ScriptVersion


def version(namespace: str | None, *tags: str) -> ScriptVersion:
    ref = ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName("w"))
    handlers = frozenset({"fetch"})
    account, tenant = AccountId("default"), TenantId("t")
    return ScriptVersion(account, ref, tenant, VersionId("1"), "0" * 64, handlers, tags=tags)


GROUPS = "trial:tag=tier:free&tag=tier:trial&namespace=sandbox&workers=2, vip:namespace=acme&tag=gold,ours:namespace=-"


@pytest.mark.parametrize(
    ("namespace", "tags", "group"),
    [
        ("sandbox", (), "trial"),
        ("acme", (), "vip"),
        ("other", (), DEFAULT_GROUP),
        (None, (), "ours"),  # a plain script
        ("other", ("tier:free",), "trial"),
        ("other", ("unknown", "tier:trial"), "trial"),
        ("acme", ("tier:free",), "trial"),  # a tag says more about a script than its namespace
        ("acme", ("gold", "tier:free"), "trial"),  # of two groups with a tag of it, the first that is named
        ("other", ("tier:freedom",), DEFAULT_GROUP),  # whole tags
    ],
)
def test_a_script_runs_in_the_group_of_its_tag_then_of_its_namespace(
    namespace: str | None, tags: tuple[str, ...], group: str
) -> None:
    assert parse_groups(GROUPS).group_of(version(namespace, *tags)) == group


def test_a_group_has_one_process_unless_it_says_more() -> None:
    assert [group.workers for group in parse_groups(GROUPS).groups] == [2, 1, 1]


def test_no_groups_is_nothing() -> None:
    assert not parse_groups("")
    assert not IsolationGroups()
    assert parse_groups("").group_of(version("acme", "gold")) == DEFAULT_GROUP


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("free", "is no NAME:namespace=NS"),
        ("Free:tag=x", "is no NAME:"),
        (f"{'x' * 33}:tag=x", "is no NAME:"),
        ("worker:tag=x", "has a meaning already"),
        ("control:tag=x", "has a meaning already"),
        ("default:tag=x", "has a meaning already"),
        ("free:", "group free: ''"),
        ("free:workers=2", "neither a namespace nor a tag"),
        ("free:tag=x&workers=0", "1 to 64"),
        ("free:tag=x&workers=65", "1 to 64"),
        ("free:tag=x&workers=1&workers=2", "'workers=2'"),
        ("free:tag=", "tag ''"),
        ("free:namespace=Has-Capitals", "namespace name 'Has-Capitals'"),
        ("free:tier=free", "'tier=free'"),
        ("a:tag=x,a:tag=y", "two groups have the name 'a'"),
        ("a:namespace=x,b:namespace=x", "two groups have the namespace 'x': a and b"),
        ("a:tag=x,b:tag=x", "two groups have the tag 'x': a and b"),
        (",".join(f"g{number}:tag=t{number}" for number in range(MAX_GROUPS + 1)), "33 groups; at most 32"),
    ],
)
def test_what_leaves_a_group_open_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidGroups) as refused:
        parse_groups(text)
    assert says in str(refused.value)


def test_a_tag_may_hold_what_separates_nothing_here() -> None:
    [group] = parse_groups("free:tag=plan = free; since:2024&workers=3").groups
    assert group.tags == {"plan = free; since:2024"}


def test_groups_reach_a_process_as_they_were() -> None:
    groups = parse_groups(GROUPS)
    assert from_config({"groups": as_config(groups)}) == groups
