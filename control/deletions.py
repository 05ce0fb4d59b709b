"""Finish what was begun to be deleted: tenants with their data points and cached responses, and what deleted KV
namespaces, queues and SQL databases held.
"""

from __future__ import annotations

import logging

from control.services import ControlServices
from storage.failures import StorageError

LOG = logging.getLogger("tenantry.control")


async def finish_deletions(services: ControlServices) -> None:
    """All that are still to be done: after each delete, and once at start, for those that a crash cut short.

    What is deleted is out of reach before this; here its room is given back. So a disk that fails here fails no
    request: it is logged, and tried again. Idempotent.
    """
    try:
        for owner in services.store.tenants.deletions():
            while await services.store.tenants.remove_some(owner):
                pass
            # Those of a deletion that a crash cut short just here go within a minute, when old ones do.
            for store in (services.analytics, services.responses):
                await store.forget(owner.namespace or "", owner.tenant or "")
            LOG.info("removed %s and all that was its own", owner)
        for kind, resource_id in services.store.pending_deletions.all():
            if kind == "kv":
                await services.kv.delete_namespace(resource_id)
            elif kind == "d1":
                await services.d1.delete(resource_id)
            else:
                await services.queues.delete_queue(resource_id)
            await services.store.pending_deletions.forget(kind, resource_id)
    except StorageError as error:
        LOG.warning("what was deleted still holds room: %s (%s)", error.message, error.detail)
