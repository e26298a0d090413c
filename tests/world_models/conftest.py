"""Shared by the tests of World Models."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores wait until the disk has what they write, in case of a power failure; tests need not."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
