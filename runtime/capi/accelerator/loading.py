"""Find the compiled module, refuse one that does not fit, and decide whether it is used."""

from __future__ import annotations

import functools
from types import ModuleType

from runtime.capi.accelerator import layout


class AcceleratorUnavailable(Exception):
    """There is none that fits, and why."""


@functools.cache
def load() -> ModuleType:
    """The module, bound to the library. Raises AcceleratorUnavailable."""
    try:
        from runtime.capi.accelerator import _accelerator
    except ImportError as error:
        raise AcceleratorUnavailable(f"it is not built here ({error})") from error
    if layout.fingerprint() != _accelerator.LAYOUT:
        raise AcceleratorUnavailable(
            "it was built for another version of wasmtime or of the host; build it again (make setup)"
        )
    _accelerator.bind(layout.addresses())
    return _accelerator


def available() -> str | None:
    """None when there is one; otherwise why not."""
    try:
        load()
    except AcceleratorUnavailable as why:
        return str(why)
    return None


def decide(mode: str) -> bool:
    """Whether to use it, of accelerator.MODES. Raises AcceleratorUnavailable when it must be used and there is none."""
    if mode == "off":
        return False
    why_not = available()
    if why_not is not None and mode == "on":
        raise AcceleratorUnavailable(
            f"--accelerator on, but {why_not}: install a C compiler and build it (make setup), or leave it at auto"
        )
    return why_not is None
