"""Checks of arguments: a ValueError or TypeError that names the argument, its value and what is accepted."""

import torch as th


def check_samples(samples: th.Tensor, context: th.Tensor | None, dim: int, context_dim: int) -> None:
    """:raises ValueError: unless samples (and context) have the declared shapes and are finite"""
    check_context(context, context_dim)
    expected = "(n, dim)" if context is None else "(batch, n, dim)"
    n_dims = 2 if context is None else 3
    if samples.dim() != n_dims or samples.shape[-1] != dim or samples.shape[-2] < 2 or samples.numel() == 0:
        raise ValueError(
            f"samples of shape {tuple(samples.shape)}: accepted is {expected} with dim={dim}, n at least 2"
            + ("" if context is None else " and batch at least 1")
        )
    _check_batch(samples, context)
    for name, tensor in (("samples", samples), ("context", context)):
        if tensor is not None and not bool(th.isfinite(tensor).all()):
            n_bad = int((~th.isfinite(tensor)).sum())
            raise ValueError(f"{name}: {n_bad} of {tensor.numel()} values are not finite; accepted are finite numbers")


def check_points(x: th.Tensor, context: th.Tensor | None, dim: int, context_dim: int) -> None:
    """:raises ValueError: unless x (and context) have one of the shapes that a query may have"""
    check_context(context, context_dim)
    expected, n_dims = ("(n, dim)", {2}) if context is None else ("(batch, n, dim) or (batch, dim)", {2, 3})
    if x.dim() not in n_dims or x.shape[-1] != dim:
        raise ValueError(f"x of shape {tuple(x.shape)}: accepted is {expected} with dim={dim}")
    _check_batch(x, context)


def check_context(context: th.Tensor | None, context_dim: int) -> None:
    """:raises ValueError: unless there is a context of the declared size, or none as declared"""
    given = "no context" if context is None else f"a context of shape {tuple(context.shape)}"
    accepted = "no context" if context_dim == 0 else f"a context of shape (batch, {context_dim})"
    if (context is None) != (context_dim == 0) or (
        context is not None and (context.dim() != 2 or context.shape[1] != context_dim)
    ):
        raise ValueError(f"context: got {given}, accepted with context_dim={context_dim} is {accepted}")


def _check_batch(x: th.Tensor, context: th.Tensor | None) -> None:
    if context is not None and len(x) != len(context):
        raise ValueError(
            f"context of shape {tuple(context.shape)}: accepted is one row for each of the {len(x)} batches of points"
        )
