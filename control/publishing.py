"""What an upload goes through before it can be served; implemented by who may start compile children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PreparedModule:
    """A module that was found good, and is ready to be mapped by worker processes."""

    #: sha256 of its bytes, hex.
    digest: str
    #: "fetch", "queue", "scheduled", "tail".
    handlers: frozenset[str]
    startup_time_ms: int
    #: As ScriptVersion has them.
    entrypoints: tuple[str, ...] | None = None
    #: (level, text) of what a script's top level logged, if it ran now.
    lines: tuple[tuple[int, str], ...] = ()
    #: What an instance of a script has to begin with; 0 for a module, whose start tells.
    memory_bytes: int = 0


class Publisher(Protocol):
    async def prepare(self, module: bytes, owner: str) -> PreparedModule:
        """Parse, compile in a child, instantiate once, store the image. Idempotent by content.

        Uploads of one `owner` (a tenant) wait for each other, and for nobody else's.

        Raises runtime.module_problems.InvalidModule when the bytes are no worker; PlatformError subclasses
        (LoadShed: too many uploads now) when it is not the upload's fault.
        """
