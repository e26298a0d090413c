"""Deep copies of objects some of whose attributes are not saved, or cannot be copied."""

import copy
from typing import Any, TypeVar

T = TypeVar("T")


def deep_copy(original: T, memo: dict[int, Any], shared: tuple[str, ...] = ()) -> T:
    """Return a deep copy with all attributes, including those that ``__getstate__`` leaves out of files.

    :param original: Object to copy, of a class whose ``__deepcopy__`` calls this function.
    :param memo: Argument of ``__deepcopy__``.
    :param shared: Names of attributes that the copy shares with the original.
    """
    copied = object.__new__(type(original))
    memo[id(original)] = copied
    for name, value in vars(original).items():
        vars(copied)[name] = value if name in shared else copy.deepcopy(value, memo)
    return copied
