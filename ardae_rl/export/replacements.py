"""Replacements, in elementary operations, for what ONNX lacks; they are active while a policy is exported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch as th


@contextmanager
def exportable() -> Iterator[None]:
    """Replace what ONNX lacks: Cholesky factors and triangular solves (actions have few dimensions), and diagonals."""
    replacements: dict[str, Callable[..., Any]] = {"cholesky_ex": cholesky_ex, "solve_triangular": solve_triangular}
    originals = {name: getattr(th.linalg, name) for name in replacements}
    cdist, diagonal, validate_args = th.cdist, th.Tensor.diagonal, th.distributions.Distribution._validate_args
    try:
        th.distributions.Distribution.set_default_validate_args(False)  # a check depends on the values
        for name, function in replacements.items():
            setattr(th.linalg, name, function)
        th.cdist = _cdist  # type: ignore[assignment]
        setattr(th.Tensor, "diagonal", lambda matrix, **dims: _Diagonal(matrix, diagonal(matrix, **dims)))  # noqa: B010
        yield
    finally:
        for name, function in originals.items():
            setattr(th.linalg, name, function)
        th.cdist = cdist
        setattr(th.Tensor, "diagonal", diagonal)  # noqa: B010
        th.distributions.Distribution.set_default_validate_args(validate_args)


class _Diagonal:
    """A diagonal of (batch, n, n), which can be set to zero without an operation on a view."""

    def __init__(self, matrix: th.Tensor, diagonal: th.Tensor) -> None:
        self.matrix, self.diagonal = matrix, diagonal

    def __getattr__(self, name: str) -> Any:
        return getattr(self.diagonal, name)

    def zero_(self) -> None:
        self.matrix.mul_(1 - th.eye(self.matrix.shape[-1]))


class _Factor(tuple[th.Tensor, th.Tensor]):
    @property
    def L(self) -> th.Tensor:
        return self[0]


def cholesky_ex(matrix: th.Tensor) -> _Factor:
    """Return the lower Cholesky factors of matrices (batch, d, d)."""
    dim = matrix.shape[-1]
    rows: list[list[th.Tensor]] = []
    for i in range(dim):
        row: list[th.Tensor] = []
        for j in range(i + 1):
            rest = matrix[:, i, j]
            for k in range(j):
                rest = rest - row[k] * (rows[j][k] if j < i else row[k])
            row.append(rest.sqrt() if i == j else rest / rows[j][j])
        rows.append(row)
    zero = th.zeros_like(matrix[:, 0, 0])
    padded = [th.stack([*row, *[zero] * (dim - len(row))], -1) for row in rows]
    return _Factor((th.stack(padded, 1), zero))


def solve_triangular(matrix: th.Tensor, right: th.Tensor, *, upper: bool) -> th.Tensor:
    """Return the solutions of A X = B, (batch, d, n), for A of shape (batch, d, d) and B of shape (batch, d, n)."""
    dim = matrix.shape[-1]
    order = range(dim - 1, -1, -1) if upper else range(dim)
    rows: dict[int, th.Tensor] = {}
    for i in order:
        rest = right[:, i]
        for j, row in rows.items():
            rest = rest - matrix[:, i, j, None] * row
        rows[i] = rest / matrix[:, i, i, None]
    return th.stack([rows[i] for i in range(dim)], 1)


def _cdist(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    """Return the distances (batch, n, m) of points (batch, n, d) and (batch, m, d)."""
    return (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(-1).sqrt()
