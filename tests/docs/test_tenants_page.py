"""docs/tenants.md says of quotas what the code says."""

from __future__ import annotations

from storage.tenant_quotas import DEFAULTS, KEY_BYTES
from storage.tenant_removal import SOME
from tests.docs.pages import code, read, table

PAGE = read("tenants.md")


def test_quotas_and_their_defaults_are_those_of_the_table_in_the_code() -> None:
    told = [(code(row[0]), int(row[2])) for row in table(PAGE, "## Quotas")]
    assert told == [(str(quota), value) for quota, value in DEFAULTS.items()]
    assert f"and {KEY_BYTES} more for each key" in PAGE


def test_a_deletion_is_in_steps_of_so_many() -> None:
    assert f"Then {SOME} workers or resources a\ntransaction" in PAGE
