"""A host that was told to have the accelerator does not start without."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.serve import serve
from cli.serve_settings import serve_settings


def test_on_refuses_to_start_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.capi.accelerator.loading.available", lambda: "it is not built here")
    data = tmp_path / "data"
    settings = serve_settings({"data": str(data), "accelerator": "on", "confinement": "off"}, {})
    with pytest.raises(CliError, match="--accelerator on: it is not built here"):
        serve(settings)
    assert not data.exists()
