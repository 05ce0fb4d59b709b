"""Scripts and their deployed versions. A deploy replaces all of a version in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.identity import DEFAULT_ACCOUNT, AccountId, NamespaceName, TenantId, VersionId
from model.scripts import BindingKind, ScriptRef, ScriptVersion
from storage.binding_rules import (
    BindingRequest,
    ResolvedBinding,
    check_own,
    check_script_users,
    check_tail_consumers,
    resolve_bindings,
)
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import (
    TAIL_CONSUMER,
    Owner,
    Read,
    decode_script,
    describe,
    encode_script,
    namespace_key,
    new_id,
    tail_index,
)
from storage.database import Database, SqlValue, Transaction
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.outbound_workers import to_columns
from storage.script_removal import remove_script, script_missing
from storage.tenant_quotas import Quota
from storage.tenant_room import require_room, require_staying

#: (secret's name, its version, its text) → what is stored. Pure, since a work may run twice.
Seal = Callable[[str, int, str], bytes]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What an upload asks for, without the module itself."""

    ref: ScriptRef
    #: None: as before; at first the script's name.
    tenant: TenantId | None = None
    bindings: BindingRequest = field(default_factory=BindingRequest)
    tags: tuple[str, ...] = ()
    #: Names of model.limits.Limits fields.
    limits: Mapping[str, int] = field(default_factory=dict)
    #: New texts of the secret_text bindings among `bindings`.
    secret_texts: Mapping[str, str] = field(default_factory=dict)
    account: AccountId = DEFAULT_ACCOUNT
    #: As ScriptVersion has them.
    tail_consumers: tuple[str, ...] = ()
    compatibility_date: str = ""
    compatibility_flags: tuple[str, ...] = ()


class ScriptRecords:
    """Every change makes a new VersionId, so that what a process built for the one before is not used."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, ref: ScriptRef) -> ScriptVersion:
        """Without `trusted`. Raises ChangeRefused: script_missing, namespaced_script_missing, namespace_missing."""
        read = self._database.read
        if ref.namespace is not None:
            require_namespace(read, ref.namespace)
        found = self._find(read, ref)
        if found is None:
            raise script_missing(ref)
        return found

    async def page(
        self,
        namespace: NamespaceName | None,
        *,
        after: str = "",
        limit: int,
        tags: Sequence[tuple[str, bool]] = (),
    ) -> list[ScriptVersion]:
        """At most `limit` by name, after the name `after`; those with (True) and without (False) each tag."""
        if namespace is not None:
            require_namespace(self._database.read, namespace)
        sql = "SELECT record FROM scripts s WHERE namespace = ? AND name > ?"
        params: list[SqlValue] = [namespace_key(namespace), after]
        for tag, wanted in tags:
            sql += " AND EXISTS" if wanted else " AND NOT EXISTS"
            sql += " (SELECT 1 FROM script_tags t WHERE t.namespace = s.namespace AND t.script = s.name AND t.tag = ?)"
            params.append(tag)
        rows = await self._database.read_in_thread(sql + " ORDER BY name LIMIT ?", [*params, limit])
        return [decode_script(row[0]) for row in rows]

    async def referred_page(
        self, after: tuple[str, str], limit: int
    ) -> tuple[set[str], tuple[str, str] | None]:
        """Digests of the modules of at most `limit` scripts of all namespaces, in order of namespace and name,
        and the last one's place; None when there is nothing after it.
        """
        rows = await self._database.read_in_thread(
            "SELECT namespace, name, record FROM scripts WHERE (namespace, name) > (?, ?)"
            " ORDER BY namespace, name LIMIT ?",
            [*after, limit],
        )
        digests = {decode_script(row[2]).module_digest for row in rows}
        return digests, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    def check(self, deployment: Deployment) -> TenantId:
        """Raise early, before a module is compiled, what `deploy` would; whose script it is going to be."""
        tenant, _, _ = self._resolve(self._database.read, deployment)
        return tenant

    async def deploy(
        self,
        deployment: Deployment,
        digest: str,
        handlers: frozenset[str],
        seal: Seal,
        entrypoints: tuple[str, ...] | None = None,
    ) -> ScriptVersion:
        """Replace the version that is served; secrets that no binding names any more go with it.

        Raises ChangeRefused: namespace_missing, binding_invalid, inherit_invalid, not_the_owner,
        handler_missing (it consumes a queue), script_in_use, quota_exceeded, tenant_leaving.
        """
        ref, now = deployment.ref, self._now_ms()
        key = (namespace_key(ref.namespace), ref.script)
        version_id = VersionId(new_id())

        def work(tx: Transaction) -> ScriptVersion:
            tenant, before, resolved = self._resolve(tx.execute, deployment)
            if "queue" not in handlers and (consumers := tx.execute(self._sql["consumers_of_script"], key)):
                raise ChangeRefused(
                    Rule.HANDLER_MISSING,
                    f"{describe(ref)} is the consumer of queue {consumers[0][2]!r}, but this module exports no"
                    " `queue` handler; remove the consumer first",
                    "main_module",
                )
            version = ScriptVersion(
                account=deployment.account,
                ref=ref,
                tenant=tenant,
                version=version_id,
                module_digest=digest,
                handlers=handlers,
                bindings=tuple(binding.spec for binding in resolved),
                tags=deployment.tags,
                limits=dict(deployment.limits),
                created_at_s=now / 1000 if before is None else before.created_at_s,
                modified_at_s=now / 1000,
                entrypoints=entrypoints,
                tail_consumers=deployment.tail_consumers,
                compatibility_date=deployment.compatibility_date,
                compatibility_flags=deployment.compatibility_flags,
            )
            check_own(version)
            self._store(tx, version, resolved)
            self._replace_secrets(tx, version, deployment.secret_texts, seal, now)
            return version

        return await self._database.write(work)

    async def set_tags(self, ref: ScriptRef, tags: tuple[str, ...]) -> ScriptVersion:
        """Raises ChangeRefused: script_missing and its like."""
        now, version_id = self._now_ms(), VersionId(new_id())

        def work(tx: Transaction) -> ScriptVersion:
            before = self._require(tx.execute, ref)
            version = replace(before, tags=tags, version=version_id, modified_at_s=now / 1000)
            self._store(tx, version, None)
            return version

        return await self._database.write(work)

    async def delete(self, ref: ScriptRef, *, force: bool) -> None:
        """Raises ChangeRefused: script_missing and its like, script_in_use."""

        def work(tx: Transaction) -> None:
            if ref.namespace is not None:
                require_namespace(tx.execute, ref.namespace)
            remove_script(tx, ref, force=force)

        await self._database.write(work)

    def _find(self, read: Read, ref: ScriptRef) -> ScriptVersion | None:
        rows = read(self._sql["script"], (namespace_key(ref.namespace), ref.script))
        return decode_script(rows[0][0]) if rows else None

    def _require(self, read: Read, ref: ScriptRef) -> ScriptVersion:
        found = self._find(read, ref)
        if found is None:
            raise script_missing(ref)
        return found

    def _resolve(
        self, read: Read, deployment: Deployment
    ) -> tuple[TenantId, ScriptVersion | None, list[ResolvedBinding]]:
        ref = deployment.ref
        if ref.namespace is not None:
            require_namespace(read, ref.namespace)
        before = self._find(read, ref)
        tenant = deployment.tenant or (TenantId(ref.script) if before is None else before.tenant)
        resolved = resolve_bindings(read, ref, tenant, deployment.bindings, before)
        check_tail_consumers(read, ref, tenant, deployment.tail_consumers)
        check_script_users(read, ref, tenant)
        owner = Owner(ref.namespace, tenant)
        if ref.namespace is None or (before is not None and before.tenant == tenant):
            require_staying(read, owner)
        else:
            require_room(read, owner, Quota.SCRIPTS)
        return tenant, before, resolved

    def _store(self, tx: Transaction, version: ScriptVersion, resolved: list[ResolvedBinding] | None) -> None:
        store_version(tx, version)
        key = (namespace_key(version.ref.namespace), version.ref.script)
        tx.execute(self._sql["clear_tags"], key)
        for tag in dict.fromkeys(version.tags):
            tx.execute(self._sql["insert_tag"], (*key, tag))
        if resolved is None:
            return
        tx.execute(self._sql["clear_bindings"], key)
        for binding in resolved:
            spec = binding.spec
            # A text is no target to look anything up by, and may be a password.
            target = "" if spec.kind in (BindingKind.PLAIN_TEXT, BindingKind.JSON) else spec.target
            worker = to_columns(spec.outbound)[:3]
            row = (*key, spec.name, spec.kind, target, int(binding.shared), *worker)
            tx.execute(self._sql["insert_binding"], row)
        for name, target in tail_index(version):
            row = (*key, name, TAIL_CONSUMER, target, 0, None, None, None)
            tx.execute(self._sql["insert_binding"], row)

    def _replace_secrets(
        self, tx: Transaction, version: ScriptVersion, texts: Mapping[str, str], seal: Seal, now: int
    ) -> None:
        key = (namespace_key(version.ref.namespace), version.ref.script)
        bound = {spec.name for spec in version.bindings if spec.kind is BindingKind.SECRET_TEXT}
        stored = {row[0] for row in tx.execute(self._sql["secret_names"], key)}
        for name in stored - bound:
            tx.execute(self._sql["delete_secret"], (*key, name))
        for name, text in texts.items():
            secret_version = record_change(tx, "secret", f"{key[0]}/{key[1]}")
            sealed = seal(name, secret_version, text)
            tx.execute(self._sql["put_secret"], (*key, name, secret_version, sealed, now))
        if stored - bound and not texts:
            record_change(tx, "secret", f"{key[0]}/{key[1]}")


def store_version(tx: Transaction, version: ScriptVersion) -> None:
    """Make `version` the one that is served, and log the change."""
    key = (namespace_key(version.ref.namespace), version.ref.script)
    tx.execute(load_queries("control")["put_script"], (*key, version.tenant, encode_script(version)))
    record_change(tx, "script", f"{key[0]}/{key[1]}")
