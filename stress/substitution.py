"""A pytest plugin that replaces another library's algorithm by one of the package, and selects the tests that use it.

The variable ``SUBSTITUTION`` names both as ``module:Class``, then the file for the results:
``stable_baselines3:SAC ardae_rl:SACARDAE results.json``.
"""

import functools
import importlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

_THEIRS, _OURS, _RESULTS = os.environ["SUBSTITUTION"].split(" ", 2)
_THEIR_OWN = {"n_quantiles", "renorm_warmup_steps"}  # policy arguments of TQC and CrossQ, which no other policy has
_MODULE, _NAME = _THEIRS.split(":")


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


_CLASS = _imported(_OURS)
setattr(importlib.import_module(_MODULE), _NAME, _CLASS)
_init = _CLASS.__init__
_results: dict[str, str] = {}


@functools.wraps(_init)
def _init_without_their_own_arguments(self: Any, *args: Any, **kwargs: Any) -> None:
    if kwargs.get("policy_kwargs"):
        kwargs["policy_kwargs"] = {k: v for k, v in kwargs["policy_kwargs"].items() if k not in _THEIR_OWN}
    _init(self, *args, **kwargs)


_CLASS.__init__ = _init_without_their_own_arguments


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that train the class: by their arguments, or else by their code."""
    items[:] = [item for item in items if isinstance(item, pytest.Function) and _uses_the_class(item)]


def _uses_the_class(item: pytest.Function) -> bool:
    arguments = item.callspec.params.values() if hasattr(item, "callspec") else ()
    classes = [value for value in arguments if inspect.isclass(value) and issubclass(value, BaseAlgorithm)]
    if classes:
        return _CLASS in classes
    return re.search(rf"\b{_NAME}\b", inspect.getsource(item.function)) is not None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record the outcome, with the last line of the error."""
    if report.failed or report.when == "call":
        _results[report.nodeid] = report.longreprtext.strip().splitlines()[-1] if report.failed else report.outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        if report.failed and crash is not None:
            _results[report.nodeid] = f"failed: {crash.message.splitlines()[0]}"


def pytest_sessionfinish() -> None:
    """Write the outcomes by test."""
    Path(_RESULTS).write_text(json.dumps(_results))
