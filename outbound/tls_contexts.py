"""TLS settings of rules, as contexts: made once each, away from the loop, from materials that no disk sees.

A context is known by a digest of all that it was made of; the digest is part of a pooled connection's key.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from model.identity import NamespaceName
from outbound.rule_actions import ClientCertificate, Materials, TlsSettings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_DEFAULT: Final = TlsSettings()


class TlsUnusable(Exception):
    """A material is no certificate, no key, or the two don't fit. The message names it."""


@dataclass(frozen=True, slots=True)
class TlsContext:
    context: ssl.SSLContext
    #: "" for the one that rules have which say nothing.
    digest: str


class TlsContexts:
    """One a process. `extra_ca_pem` are certificates trusted beside the system's."""

    def __init__(self, extra_ca_pem: str | None = None, *, capacity: int = 512) -> None:
        self._extra_ca_pem = extra_ca_pem
        self._capacity = capacity
        #: For rules that say nothing, and for egress proxies.
        self.default = TlsContext(_make("1.2", None, None, extra_ca_pem), "")
        self._made: OrderedDict[str, TlsContext] = OrderedDict()
        self._in_work: dict[str, asyncio.Task[TlsContext]] = {}

    async def get(
        self, settings: TlsSettings, materials: Materials, namespace: NamespaceName | None
    ) -> TlsContext:
        """Raises MaterialMissing, TlsUnusable."""
        if settings == _DEFAULT:
            return self.default
        ca_pem: bytes | None = None
        client: ClientCertificate | None = None
        if settings.ca_bundle is not None:
            ca_pem = await materials.ca_bundle(namespace, settings.ca_bundle)
        if settings.client_certificate is not None:
            client = await materials.client_certificate(namespace, settings.client_certificate)
        digest = _digest(settings.minimum_version, ca_pem, client)
        made = self._made.get(digest)
        if made is not None:
            self._made.move_to_end(digest)
            return made
        task = self._in_work.get(digest)
        if task is None:
            task = asyncio.create_task(self._build(digest, settings, ca_pem, client))
            self._in_work[digest] = task
            task.add_done_callback(lambda done: self._finished(digest, done))
        return await asyncio.shield(task)

    async def _build(
        self, digest: str, settings: TlsSettings, ca_pem: bytes | None, client: ClientCertificate | None
    ) -> TlsContext:
        try:
            context = await asyncio.to_thread(
                _make, settings.minimum_version, ca_pem, client, self._extra_ca_pem
            )
        except (ssl.SSLError, OSError, ValueError) as error:
            names = " and ".join(
                f"{kind} {name!r}"
                for kind, name in (
                    ("CA bundle", settings.ca_bundle),
                    ("client certificate", settings.client_certificate),
                )
                if name is not None
            )
            raise TlsUnusable(
                f"the egress {names} can't be used: not PEM, an encrypted key, or a key that is not the certificate's"
            ) from error
        return TlsContext(context, digest)

    def _finished(self, digest: str, task: asyncio.Task[TlsContext]) -> None:
        del self._in_work[digest]
        if task.cancelled() or task.exception() is not None:
            return
        self._made[digest] = task.result()
        while len(self._made) > self._capacity:
            self._made.popitem(last=False)


def _digest(minimum: str, ca_pem: bytes | None, client: ClientCertificate | None) -> str:
    parts = [minimum.encode(), ca_pem or b""]
    parts += [client.certificate_pem, client.key_pem] if client is not None else []
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()[:32]


def _make(
    minimum: str, ca_pem: bytes | None, client: ClientCertificate | None, extra_ca_pem: str | None
) -> ssl.SSLContext:
    if ca_pem is not None:
        # Instead of the system's, not beside them.
        context = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
    else:
        context = ssl.create_default_context()
        if extra_ca_pem is not None:
            context.load_verify_locations(cadata=extra_ca_pem)
    context.minimum_version = _VERSIONS[minimum]
    if client is not None:
        _load_chain(context, client)
    return context


def _load_chain(context: ssl.SSLContext, client: ClientCertificate) -> None:
    """The library reads keys from files alone: this one has no name and lies in memory (memfd_create(2))."""
    descriptor = os.memfd_create("egress-client-certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(client.certificate_pem + b"\n" + client.key_pem)
        file.flush()
        # Without the callable OpenSSL would ask for the password of an encrypted key on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
