"""Checks of the tensors that an estimator is trained on and queried with."""

from typing import Any

import torch as th
from numpy.typing import NDArray

from ardae_rl.common.finite import check_all_finite

Numbers = th.Tensor | NDArray[Any]  # of any dtype


def as_numbers(name: str, values: Numbers, like: th.Tensor) -> th.Tensor:
    """Convert an array or tensor of numbers to the dtype and device of ``like``.

    A tensor that has them already is returned unchecked: it comes from a training loop, which must not wait for the
    device.

    :raises TypeError: If ``values`` are not real numbers.
    :raises ValueError: If some values are not finite.
    """
    if isinstance(values, th.Tensor) and values.dtype == like.dtype and values.device == like.device:
        return values
    try:
        tensor = th.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be a tensor or an array of numbers, got {type(values).__name__}") from error
    if tensor.dtype == th.bool or tensor.is_complex():
        raise TypeError(f"`{name}` must be real numbers, got {tensor.dtype}")
    check_all_finite(name, tensor)
    return tensor.to(like)


def check_samples(samples: th.Tensor, context: th.Tensor | None, dim: int, context_dim: int) -> None:
    """Check training samples.

    :raises ValueError: Unless samples (and contexts) have the declared shapes and are finite.
    """
    check_context(context, context_dim)
    expected = f"(n, {dim}) with n >= 2" if context is None else f"(batch, n, {dim}) with batch >= 1 and n >= 2"
    n_dims = 2 if context is None else 3
    if samples.dim() != n_dims or samples.shape[-1] != dim or samples.shape[-2] < 2 or samples.numel() == 0:
        raise ValueError(f"`samples` must have shape {expected}, got {tuple(samples.shape)}")
    _check_batch(samples, context)
    for name, tensor in (("samples", samples), ("context", context)):
        if tensor is not None:
            check_all_finite(name, tensor)


def check_points(
    name: str, x: th.Tensor, context: th.Tensor | None, dim: int, context_dim: int, single: bool = True
) -> None:
    """Check the points of a query.

    :param single: Whether points may have shape (batch, dim), one for each context.
    :raises ValueError: Unless the points (and contexts) have a shape that a query accepts.
    """
    check_context(context, context_dim)
    if context is None:
        expected, n_dims = f"(n, {dim})", {2}
    else:
        expected, n_dims = f"(batch, n, {dim})", {3}
        if single:
            expected, n_dims = f"{expected} or (batch, {dim})", {2, 3}
    if x.dim() not in n_dims or x.shape[-1] != dim:
        raise ValueError(f"`{name}` must have shape {expected}, got {tuple(x.shape)}")
    _check_batch(x, context)


def check_context(context: th.Tensor | None, context_dim: int) -> None:
    """Check contexts.

    :raises ValueError: Unless the context has size ``context_dim``, or is None if that is 0.
    """
    shape = None if context is None else tuple(context.shape)
    if context_dim == 0 and context is not None:
        raise ValueError(f"`context` must be None with context_dim=0, got a tensor of shape {shape}")
    if context_dim > 0 and (context is None or context.dim() != 2 or context.shape[1] != context_dim):
        raise ValueError(f"`context` must have shape (batch, {context_dim}), got {shape}")


def _check_batch(x: th.Tensor, context: th.Tensor | None) -> None:
    if context is not None and len(x) != len(context):
        raise ValueError(f"`context` must have {len(x)} rows, one for each batch of points, got {len(context)}")
