"""What a worker keeps in its cache is there for every process of the host, and for no other tenant."""

from __future__ import annotations

from tests.acceptance.platform import Platform


def test_a_page_is_made_once_for_all_processes(platform: Platform) -> None:
    assert len(platform.workers()) > 1
    for name, tenant in (("cached", "acme"), ("cached-too", "acme"), ("cached-other", "rival")):
        tenants = ("--tenant", tenant)
        platform.deploy("cached", name, *tenants, "--cache", "CACHE=pages", "--kv", f"MADE=made-{tenant}")
    # A new connection each, so that each process answers some.
    assert {platform.request("cached.localhost", "/a").body for _ in range(20)} == {"page 1\n"}
    assert platform.request("cached.localhost", "/b").body == "page 2\n"
    assert platform.request("cached-other.localhost", "/a").body == "page 1\n"
    assert platform.request("cached-too.localhost", "/a").body == "page 3\n"  # another host, another URL
