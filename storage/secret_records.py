"""Secrets of a script, as ciphertext: nothing here can read one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from model.identity import VersionId
from model.scripts import BindingKind, BindingSpec, ScriptRef, ScriptVersion
from storage.binding_rules import MOST_BINDINGS
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import decode_script, describe, namespace_key, new_id
from storage.database import Database, Transaction
from storage.migrations import load_queries
from storage.script_records import Seal, store_version
from storage.script_removal import script_missing


class SecretRecords:
    """A secret is a binding of kind secret_text with its ciphertext apart; a change makes a new version."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def names(self, ref: ScriptRef) -> list[str]:
        """Raises ChangeRefused: script_missing and its like."""
        key = (namespace_key(ref.namespace), ref.script)
        if not self._database.read(self._sql["script"], key):
            raise script_missing(ref)
        return [row[0] for row in self._database.read(self._sql["secret_names"], key)]

    async def change(
        self, ref: ScriptRef, texts: Mapping[str, str | None], seal: Seal, field: str = "name"
    ) -> None:
        """Set those with a text, delete those with None; all or none.

        Raises ChangeRefused: script_missing and its like; secret_missing (deleting what isn't there);
        binding_invalid (the name is another kind's binding, or there are too many).
        """
        key = (namespace_key(ref.namespace), ref.script)
        now, version_id = self._now_ms(), VersionId(new_id())

        def work(tx: Transaction) -> None:
            rows = tx.execute(self._sql["script"], key)
            if not rows:
                raise script_missing(ref)
            before = decode_script(rows[0][0])
            bindings = _changed_bindings(before, texts, field)
            version = replace(before, bindings=bindings, version=version_id, modified_at_s=now / 1000)
            store_version(tx, version)
            for name, text in texts.items():
                secret_version = record_change(tx, "secret", f"{key[0]}/{key[1]}")
                if text is None:
                    tx.execute(self._sql["delete_secret"], (*key, name))
                    tx.execute(
                        "DELETE FROM script_bindings WHERE namespace = ? AND script = ? AND name = ?",
                        (*key, name),
                    )
                    continue
                sealed = seal(name, secret_version, text)
                tx.execute(self._sql["put_secret"], (*key, name, secret_version, sealed, now))
                tx.execute(
                    self._sql["insert_binding"] + " ON CONFLICT DO NOTHING",
                    (*key, name, BindingKind.SECRET_TEXT, "", 0, None, None, None),
                )

        await self._database.write(work)


def _changed_bindings(
    before: ScriptVersion, texts: Mapping[str, str | None], field: str
) -> tuple[BindingSpec, ...]:
    bindings = {spec.name: spec for spec in before.bindings}
    for name, text in texts.items():
        old = bindings.get(name)
        if text is None:
            if old is None or old.kind is not BindingKind.SECRET_TEXT:
                raise ChangeRefused(
                    Rule.SECRET_MISSING, f"{describe(before.ref)} has no secret {name!r}", field
                )
            del bindings[name]
        elif old is not None and old.kind is not BindingKind.SECRET_TEXT:
            raise ChangeRefused(
                Rule.BINDING_INVALID,
                f"{field}: {name!r} is a {old.kind} binding of {describe(before.ref)}; take another name",
                field,
            )
        else:
            bindings[name] = BindingSpec(BindingKind.SECRET_TEXT, name, "")
    if len(bindings) > MOST_BINDINGS:
        raise ChangeRefused(
            Rule.BINDING_INVALID,
            f"{field}: {len(bindings)} bindings together; at most {MOST_BINDINGS} are allowed",
            field,
        )
    return tuple(bindings.values())
