"""Rule held: a material goes in and never comes out; only what belongs together is taken; none that a policy in
force uses goes away by accident.
"""

from __future__ import annotations

import datetime
import json
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from model.identity import NamespaceName
from storage.egress_records import material_info
from storage.keys import Unsealable, unseal
from tests.control.support import ACCOUNT, NAMESPACES, Host, ok, refused

NS = f"{NAMESPACES}/prod/egress-materials"
PLAIN = f"{ACCOUNT}/workers/egress-materials"
POLICY = f"{NAMESPACES}/prod/egress-policy"
PROD = NamespaceName("prod")
VALUE = "s3cr3t-value-of-the-platform"


@cache
def pair(name: str, days: int = 30, kind: str = "ec") -> tuple[str, str]:
    """(certificate, key) as PEM."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=60))
        .not_valid_after(end)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), pem.decode()


def client(name: str = "client", **changed: str) -> dict[str, str]:
    certificate, key = pair(name)
    return {"kind": "client_certificate", "certificate_pem": certificate, "key_pem": key, **changed}


@pytest.mark.parametrize("path", [NS, PLAIN])
async def test_no_answer_and_no_row_shows_a_secret(host: Host, path: str) -> None:
    await host.namespace()
    key = pair("client")[1]
    answers = [
        await host.api.put(f"{path}/token", json={"kind": "secret", "value": VALUE}),
        await host.api.put(f"{path}/mtls", json=client()),
        await host.api.get(f"{path}/token"),
        await host.api.get(f"{path}/mtls"),
        await host.api.get(path),
    ]
    for answer in answers:
        ok(answer)
        assert VALUE not in answer.text
        assert "PRIVATE" not in answer.text
    listed = ok(answers[-1])
    assert [(each["name"], each["kind"]) for each in listed] == [
        ("mtls", "client_certificate"),
        ("token", "secret"),
    ]
    kept = str(host.state())
    assert VALUE not in kept
    assert key.splitlines()[1] not in kept


async def test_a_material_opens_with_the_key_of_its_own_version_name_and_namespace_alone(host: Host) -> None:
    await host.namespace()
    ok(await host.api.put(f"{NS}/token", json={"kind": "secret", "value": VALUE}))
    stored = await host.store.materials.sealed(PROD, "token")
    assert stored is not None
    sealer = host.services.sealer
    version = stored.version

    def opened(namespace: NamespaceName | None, name: str, version: int) -> bytes:
        key = sealer.material_key_for(namespace, name, version, stored.sealed)  # type: ignore[attr-defined]
        return unseal(key, stored.sealed, material_info(namespace, name, version))

    assert json.loads(opened(PROD, "token", version)) == {"value": VALUE}
    for other in ((None, "token", version), (PROD, "other", version), (PROD, "token", version + 1)):
        with pytest.raises(Unsealable):
            opened(*other)


async def test_what_may_be_seen_of_certificates_is_shown(host: Host) -> None:
    await host.namespace()
    made = ok(await host.api.put(f"{NS}/mtls", json=client()))
    assert made["subject"] == "CN=client"
    assert made["certificates"] == 1
    assert len(made["fingerprint_sha256"]) == 64
    bundle = pair("a")[0] + pair("b", 10)[0]
    shown = ok(await host.api.put(f"{NS}/roots", json={"kind": "ca_bundle", "pem": bundle}))
    assert shown["certificates"] == 2
    assert shown["not_after"] < made["not_after"]  # the first of them to end
    assert shown["author"]["name"] == "admin"


async def test_an_expired_certificate_is_taken_with_a_warning(host: Host) -> None:
    await host.namespace()
    certificate, key = pair("old", -1)
    sent = {"kind": "client_certificate", "certificate_pem": certificate, "key_pem": key}
    answer = await host.api.put(f"{NS}/mtls", json=sent)
    ok(answer)
    (warning,) = answer.json()["messages"]
    assert "expired" in warning["message"]


async def test_an_rsa_pair_is_taken(host: Host) -> None:
    await host.namespace()
    certificate, key = pair("rsa", 30, "rsa")
    sent = {"kind": "client_certificate", "certificate_pem": certificate, "key_pem": key}
    ok(await host.api.put(f"{NS}/mtls", json=sent))


def _encrypted() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        ({"kind": "secret"}, "value", "missing"),
        ({"kind": "secret", "value": ""}, "value", "empty"),
        ({"kind": "secret", "value": "x" * 8_193}, "value", "8192"),
        ({"kind": "secret", "value": "two\r\nlines"}, "value", "header"),
        ({"kind": "secret", "value": "nul\0"}, "value", "header"),
        ({"kind": "secret", "value": " blank"}, "value", "blank"),
        ({"kind": "secret", "value": "ümlaut"}, "value", "ASCII"),
        ({"kind": "secret", "value": "x", "pem": "y"}, "pem", "has none"),
        ({"kind": "ca_bundle", "pem": "no pem"}, "pem", "no PEM"),
        ({"kind": "ca_bundle", "pem": pair("a")[0] + pair("a")[1]}, "pem", "private key"),
        ({"kind": "ca_bundle", "pem": "x" * (512 * 1024 + 1)}, "pem", "at most"),
        (client(key_pem=pair("other")[1]), "key_pem", "do not belong together"),
        (client(key_pem="no key"), "key_pem", "no PEM"),
        (client(key_pem=_encrypted()), "key_pem", "encrypted"),
        (client(certificate_pem=""), "certificate_pem", "missing"),
        (client(certificate_pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
         "certificate_pem", "no PEM"),
    ],
)  # fmt: skip
async def test_what_is_no_material_is_refused_without_quoting_it(
    host: Host, sent: dict[str, str], field: str, says: str
) -> None:
    await host.namespace()
    state = host.state()
    message = refused(await host.api.put(f"{NS}/m", json=sent), 400, 20027, field)
    assert says in message
    for value in [value for name, value in sent.items() if name != "kind"]:
        assert len(value) < 12 or value[:12] not in message
    assert host.state() == state


async def test_names_and_places_are_checked(host: Host) -> None:
    await host.namespace()
    secret = {"kind": "secret", "value": "x"}
    refused(await host.api.put(f"{NS}/-no", json=secret), 400, 10016)
    refused(await host.api.put(f"{NAMESPACES}/none/egress-materials/m", json=secret), 404, 100119)
    refused(await host.api.get(f"{NS}/missing"), 404, 20024)
    refused(await host.api.delete(f"{NS}/missing"), 404, 20024)
    refused(await host.api.put(f"{NS}/m", json={"kind": "password", "value": "x"}), 400, 10026)


async def test_a_policy_that_names_what_is_not_there_is_taken_with_a_warning(host: Host) -> None:
    await host.namespace()
    host.services.read_policy = lambda text: {("secret", "token"), ("ca_bundle", "roots"), ("secret", "mtls")}
    ok(await host.api.put(f"{NS}/token", json={"kind": "secret", "value": "x"}))
    ok(await host.api.put(f"{NS}/mtls", json=client()))  # there, but no secret
    for query in ({}, {"validate_only": "true"}):
        answer = await host.api.put(POLICY, content="version: 1\n", params=query)
        ok(answer)
        warnings = answer.json()["messages"]
        assert [(each["code"], each["meta"]) for each in warnings] == [
            (20026, {"material": "roots", "kind": "ca_bundle"}),
            (20026, {"material": "mtls", "kind": "secret"}),
        ]


async def test_what_a_policy_in_force_uses_is_deleted_only_on_purpose(host: Host) -> None:
    await host.namespace()
    host.services.read_policy = lambda text: {("secret", "token")} if "token" in text else set()
    secret = {"kind": "secret", "value": "x"}
    for path in (f"{NS}/token", f"{NS}/other", f"{PLAIN}/token"):
        ok(await host.api.put(path, json=secret))
    tenant = f"{POLICY}/tenants/acme"
    first = ok(await host.api.put(tenant, content="# token"))
    message = refused(await host.api.delete(f"{NS}/token"), 409, 20025)
    assert "tenant 'acme'" in message
    # Nor does it become something else under the same name; a new value it may get.
    refused(await host.api.put(f"{NS}/token", json=client()), 409, 20025)
    ok(await host.api.put(f"{NS}/token", json=secret))
    # Another name, and the same name elsewhere, are not used.
    ok(await host.api.delete(f"{NS}/other"))
    ok(await host.api.delete(f"{PLAIN}/token"))
    # The policy no longer uses it; then, rolled back, it does.
    ok(await host.api.put(tenant, content="# nothing"))
    ok(await host.api.put(f"{NS}/token", json=client()))
    ok(await host.api.put(f"{NS}/token", json=secret))
    ok(await host.api.post(f"{tenant}/rollback", json={"version": first["version"]}))
    refused(await host.api.delete(f"{NS}/token"), 409, 20025)
    ok(await host.api.delete(f"{NS}/token", params={"force": "true"}))
    refused(await host.api.get(f"{NS}/token"), 404, 20024)
