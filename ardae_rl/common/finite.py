"""A check for numbers that are NaN or infinite, of arrays and tensors in any form."""

import math
from typing import Any

import numpy as np
import torch as th


def check_all_finite(name: str, values: Any) -> None:
    """Check that an array, a tensor or a dictionary of them has finite values only.

    :param name: Name of the argument.
    :param values: The values. Integers always pass.
    :raises ValueError: If some are NaN or infinite.
    """
    if isinstance(values, dict):
        for key, part in values.items():
            check_all_finite(f"{name}[{key!r}]", part)
        return
    if isinstance(values, th.Tensor):
        is_finite: Any = values.isfinite() if values.is_floating_point() else None
    else:
        array = np.asarray(values)
        is_finite = np.isfinite(array) if array.dtype.kind == "f" else None
    if is_finite is not None and not bool(is_finite.all()):
        n_bad = int((~is_finite).sum())
        raise ValueError(f"`{name}` must be finite, got {n_bad} of {math.prod(is_finite.shape)} values that are not")
