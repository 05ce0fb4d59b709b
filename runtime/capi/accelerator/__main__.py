"""Say whether the accelerator was built, as `make setup` does: `python -m runtime.capi.accelerator`."""

from __future__ import annotations

from runtime.capi.accelerator.loading import available

why_not = available()
print("accelerator: built" if why_not is None else f"accelerator: none, ctypes does its work: {why_not}")
