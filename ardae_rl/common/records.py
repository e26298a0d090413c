"""Values as they are after a round trip through JSON, so that a folder's settings can be recorded and compared."""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import CodeType
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a value as it is after a round trip through JSON; functions and classes become their qualified names."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, set | frozenset):  # whose order differs between processes
        return sorted((plain(item) for item in value), key=repr)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return qualified_name(value) if callable(value) else re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def qualified_name(function: Callable[..., Any]) -> str:
    """Return the name of a function or class with its module, and for a partial function with its arguments.

    A lambda, or a function inside another one, shares its name with others, so a digest of its code is appended.
    """
    if isinstance(function, partial):
        named = [f"{name}={plain(value)}" for name, value in function.keywords.items()]
        arguments = [*(str(plain(value)) for value in function.args), *named]
        return f"{qualified_name(function.func)}({', '.join(arguments)})"
    target = function if hasattr(function, "__qualname__") else type(function)
    code = getattr(function, "__code__", None)
    digest = f"#{_digest(function, code)}" if code is not None and "<" in target.__qualname__ else ""
    return f"{target.__module__}.{target.__qualname__}{digest}"


def _digest(function: Any, code: CodeType) -> str:
    contents = [cell.cell_contents for cell in function.__closure__ or ()]
    cells = ["itself" if value is function else plain(value) for value in contents]
    parts = [_code(code), cells, plain(function.__defaults__)]
    if function.__kwdefaults__:
        parts.append(plain(function.__kwdefaults__))
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:12]


def _code(code: CodeType) -> Any:
    return code.co_code, code.co_names, [_constant(value) for value in code.co_consts]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
