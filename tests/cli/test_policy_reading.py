"""Rule held: control learns of every material that a document names, and a worker joins what is in force as the
gateway understands it.
"""

from __future__ import annotations

import pytest

from cli.policy_reading import join_layers, named_materials
from outbound.egress_fields import Facts
from outbound.policy import Result
from outbound.policy_layers import decide_layers
from outbound.policy_parse import PolicyError, parse_policy
from storage.egress_records import Layer, PolicyLayer

ALL = """
version: 1
rules:
  - {name: one, action: allow, host: a.example, secrets: [{header: x-a, secret: s1, plaintext: true}]}
  - name: two
    action: allow
    host: b.example
    scheme: https
    secrets: [{header: x-b, secret: s2}, {header: x-c, secret: s1}]
    proxy: {url: "http://proxy.example:3128", credentials: s3}
    tls: {ca_bundle: roots, client_certificate: mtls}
  - {name: three, action: deny, host: c.example}
"""
ALLOW = "version: 1\nrules: [{name: all, action: allow}]"
NONE = "version: 1\nrules: []"


def test_every_material_that_is_named_is_found_once() -> None:
    assert named_materials(ALL) == {
        ("secret", "s1"),
        ("secret", "s2"),
        ("secret", "s3"),
        ("ca_bundle", "roots"),
        ("client_certificate", "mtls"),
    }
    assert named_materials(NONE) == set()
    with pytest.raises(PolicyError, match="version"):
        named_materials("rules: []")


@pytest.mark.parametrize(
    ("layers", "result", "by"),
    [
        ([], Result.DENY, "namespace"),
        ([(Layer.NAMESPACE, "", False, ALLOW)], Result.ALLOW, "namespace"),
        ([(Layer.TENANT, "acme", False, ALLOW)], Result.DENY, "namespace"),
        ([(Layer.NAMESPACE, "", False, ALLOW), (Layer.TENANT, "acme", False, NONE)], Result.DENY, "tenant:acme"),
        ([(Layer.NAMESPACE, "", False, ALLOW), (Layer.TAG, "pro", False, NONE)], Result.DENY, "tag:pro"),
        ([(Layer.NAMESPACE, "", False, NONE), (Layer.TAG, "pro", True, ALLOW)], Result.ALLOW, "tag:pro"),
        ([(Layer.TENANT, "acme", True, ALLOW)], Result.ALLOW, "tenant:acme"),
    ],
)  # fmt: skip
def test_layers_in_force_decide_as_their_kind_and_mark_say(
    layers: list[tuple[Layer, str, bool, str]], result: Result, by: str
) -> None:
    joined = join_layers(
        [
            (PolicyLayer(layer, name, number, str(number), widen), parse_policy(text))
            for number, (layer, name, widen, text) in enumerate(layers)
        ]
    )
    verdict = decide_layers(joined, Facts("https", "a.example", 443, "GET", "/"))
    assert (verdict.result, verdict.layer) == (result, by)
