"""Versions that a result depends on."""

import importlib.metadata

import pytest

from ardae_rl.runs.versions import package_versions


@pytest.mark.parametrize("installed", ["box2d", "box2d-py"])
def test_box2d_has_two_names(monkeypatch: pytest.MonkeyPatch, installed: str) -> None:
    """Gymnasium requires one or the other, by its version and Python's."""

    def version(name: str) -> str:
        if name.startswith("box2d") and name != installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert [name for name in package_versions() if name.startswith("box2d")] == [installed]
