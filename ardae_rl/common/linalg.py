"""Batched linear algebra."""

import torch as th


def matvec(matrix: th.Tensor, vector: th.Tensor) -> th.Tensor:
    """Return the products of matrices (..., m, n) and vectors (..., n), with shape (..., m)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
