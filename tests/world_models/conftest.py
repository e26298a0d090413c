"""Shared by the tests of World Models."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, which stores do only in case of a power failure."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
