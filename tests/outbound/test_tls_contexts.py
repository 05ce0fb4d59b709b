"""Rule held: a rule's TLS settings are kept to, its materials are read from memory alone and away from the loop, and
connections made with one set of them are never used with another.
"""

from __future__ import annotations

import asyncio
import os
import ssl

import pytest
import trustme

from model.errors import OperationError, OperationErrorCode
from outbound.memory_materials import MemoryMaterials
from outbound.policy_parse import parse_policy
from outbound.reasons import Reason
from outbound.rule_actions import ClientCertificate, TlsSettings
from outbound.tls_contexts import TlsContexts, TlsUnusable
from tests.outbound.conftest import WayOut, read_all, server_tls
from tests.support.upstream import Upstream, UpstreamRequest, respond


def policy(tls: str, more: str = "timeout_ms: 5000") -> str:
    return (
        "version: 1\nrules: [{name: local, action: allow, open_cidrs: [127.0.0.0/8], "
        f"{more}, tls: {{{tls}}}}}]"
    )


def client_of(authority: trustme.CA, name: str) -> ClientCertificate:
    issued = authority.issue_cert(name)
    return ClientCertificate(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())


def open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own
            continue
    return found


async def test_a_client_certificate_is_shown_by_the_rule_that_names_it(way_out: WayOut) -> None:
    clients = trustme.CA()
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.materials = MemoryMaterials(
        client_certificates={
            "shop": client_of(clients, "shop.test"),
            "stranger": client_of(trustme.CA(), "x.test"),
        }
    )
    way_out.rebuild()
    tls = server_tls("api.test")
    tls.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(tls)
    async with Upstream(tls=tls) as upstream:
        url = f"https://api.test:{upstream.port}/"
        way_out.policy = parse_policy(policy("client_certificate: shop"))
        assert (await way_out.fetch(url)).status == 200
        for tls_fields in ("client_certificate: stranger", "minimum_version: '1.2'"):
            way_out.policy = parse_policy(policy(tls_fields))
            with pytest.raises(OperationError):
                await way_out.fetch(url)
        assert len(upstream.requests) == 1
    assert not [path for path in open_files() if "egress-client-certificate" in path]


async def test_no_redirect_to_another_origin_takes_a_client_certificate_along(way_out: WayOut) -> None:
    """Not even to a host of the same rule: whoever redirects must not choose whom the platform introduces itself to."""
    clients = trustme.CA()
    way_out.materials = MemoryMaterials(client_certificates={"shop": client_of(clients, "shop.test")})
    way_out.rebuild()
    shown: list[tuple[str, bool]] = []
    ways: dict[str, str] = {}

    async def reply(request: UpstreamRequest, writer: asyncio.StreamWriter) -> None:
        where = f"{(request.header('host') or '').partition(':')[0]}{request.target}"
        shown.append((where, bool(writer.get_extra_info("ssl_object").getpeercert())))
        if where in ways:
            respond(writer, 302, b"", f"location: {ways[where]}")
        else:
            respond(writer, 200, b"")

    tls = server_tls("a.test", "b.test")
    tls.verify_mode = ssl.CERT_OPTIONAL
    clients.configure_trust(tls)
    for name in ("a.test", "b.test"):
        way_out.dns.set(name, "127.0.0.1")
    async with Upstream(reply, tls=tls) as upstream:
        way_out.policy = parse_policy(policy("client_certificate: shop", "follow_redirects: 5"))
        ways |= {
            "a.test/": "/same",
            "a.test/same": f"https://b.test:{upstream.port}/",
            "b.test/": f"https://a.test:{upstream.port}/back",
        }
        assert (await way_out.fetch(f"https://a.test:{upstream.port}/")).status == 200
        assert (await way_out.fetch(f"https://b.test:{upstream.port}/itself")).status == 200
    assert shown == [
        ("a.test/", True),
        ("a.test/same", True),
        ("b.test/", False),
        ("a.test/back", False),
        ("b.test/itself", True),
    ]


async def test_a_ca_bundle_is_trusted_instead_of_all_others(way_out: WayOut) -> None:
    own = trustme.CA()
    way_out.dns.set("api.test", "127.0.0.1")
    way_out.materials = MemoryMaterials(ca_bundles={"own": own.cert_pem.bytes()})
    way_out.rebuild()
    private = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.issue_cert("api.test").configure_cert(private)
    async with Upstream(tls=private) as inside, Upstream(tls=server_tls("api.test")) as outside:
        way_out.policy = parse_policy(policy("ca_bundle: own"))
        assert (await way_out.fetch(f"https://api.test:{inside.port}/")).status == 200
        with pytest.raises(OperationError, match=r"\(tls\.failed\)"):
            await way_out.fetch(f"https://api.test:{outside.port}/")
        way_out.policy = parse_policy(policy("minimum_version: '1.2'"))
        with pytest.raises(OperationError, match=r"\(tls\.failed\)"):
            await way_out.fetch(f"https://api.test:{inside.port}/")


async def test_the_minimum_version_is_held(way_out: WayOut) -> None:
    way_out.dns.set("api.test", "127.0.0.1")
    tls = server_tls("api.test")
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Upstream(tls=tls) as upstream:
        url = f"https://api.test:{upstream.port}/"
        way_out.policy = parse_policy(policy("minimum_version: '1.3'"))
        with pytest.raises(OperationError, match=r"\(tls\.failed\)"):
            await way_out.fetch(url)
        way_out.policy = parse_policy(policy("minimum_version: '1.2'"))
        assert (await way_out.fetch(url)).status == 200


async def test_a_material_that_is_missing_or_none_stops_the_request(way_out: WayOut) -> None:
    good, other = client_of(trustme.CA(), "a.test"), client_of(trustme.CA(), "b.test")
    bad = {
        "garbage": ClientCertificate(b"no", b"pem"),
        "mixed": ClientCertificate(good.certificate_pem, other.key_pem),
    }
    way_out.materials = MemoryMaterials(client_certificates=bad, ca_bundles={"garbage": b"no pem"})
    way_out.rebuild()
    async with Upstream() as upstream:
        for fields in (
            "client_certificate: absent",
            "ca_bundle: absent",
            "client_certificate: garbage",
            "client_certificate: mixed",
            "ca_bundle: garbage",
        ):
            way_out.policy = parse_policy(policy(fields))
            with pytest.raises(OperationError, match=r"\(tls\.material_missing\)") as caught:
                await way_out.fetch(f"https://127.0.0.1:{upstream.port}/")
            assert caught.value.code is OperationErrorCode.UNAVAILABLE
            assert way_out.last_record().reason is Reason.TLS_MATERIAL_MISSING
        assert upstream.connections == 0


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it() -> None:
    from cryptography.hazmat.primitives import serialization

    made = client_of(trustme.CA(), "a.test")
    key = serialization.load_pem_private_key(made.key_pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    materials = MemoryMaterials(client_certificates={"a": ClientCertificate(made.certificate_pem, locked)})
    with pytest.raises(TlsUnusable, match="encrypted key"):
        await TlsContexts().get(TlsSettings(client_certificate="a"), materials, None)


async def test_one_context_for_one_set_of_materials_however_many_ask_at_once() -> None:
    own = trustme.CA()
    contexts = TlsContexts()
    materials = MemoryMaterials(
        ca_bundles={
            "a": own.cert_pem.bytes(),
            "same": own.cert_pem.bytes(),
            "b": trustme.CA().cert_pem.bytes(),
        }
    )
    first, second, third, fourth = await asyncio.gather(
        *(contexts.get(TlsSettings(ca_bundle=name), materials, None) for name in ("a", "a", "same", "b"))
    )
    assert first is second is third
    assert fourth.digest != first.digest
    assert (await contexts.get(TlsSettings(ca_bundle="a"), materials, None)) is first
    strict = await contexts.get(TlsSettings("1.3", ca_bundle="a"), materials, None)
    assert strict.digest != first.digest
    assert (await contexts.get(TlsSettings(), materials, None)).digest == ""


async def test_a_material_that_changed_is_not_answered_by_an_old_connection(way_out: WayOut) -> None:
    own = trustme.CA()
    way_out.dns.set("api.test", "127.0.0.1")
    bundles = {"own": own.cert_pem.bytes()}
    way_out.materials = MemoryMaterials(ca_bundles=bundles)
    way_out.rebuild()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.issue_cert("api.test").configure_cert(tls)
    way_out.policy = parse_policy(policy("ca_bundle: own"))
    async with Upstream(tls=tls) as upstream:
        url = f"https://api.test:{upstream.port}/"
        await read_all(await way_out.fetch(url))
        bundles["own"] = trustme.CA().cert_pem.bytes()
        with pytest.raises(OperationError, match=r"\(tls\.failed\)"):
            await way_out.fetch(url)
