"""Policies for deployment: a plain module, ``torch.export``, and ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.common.optional import require


class DeterministicPolicy(nn.Module):
    """The deterministic action of a policy, from observations to the environment's actions, as one module.

    It computes what ``predict(observation, deterministic=True)`` does, with tensors. Images have their channels first,
    as SB3's ``VecTransposeImage`` gives them; they are scaled within.

    Example:

    >>> import torch as th
    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import DeterministicPolicy
    >>> policy = DeterministicPolicy(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10).policy)
    >>> policy(th.zeros(4, 3)).shape
    torch.Size([4, 1])

    :param policy: Policy of SB3 with continuous or discrete actions and without a recurrent state.
    :raises ValueError: For observations that are dictionaries.
    """

    low: th.Tensor | None
    high: th.Tensor | None

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        if not isinstance(policy.observation_space, spaces.Box):
            raise ValueError(f"`policy` must have observations in a Box, got {policy.observation_space}")
        policy.set_training_mode(False)
        self.policy = policy
        box = policy.action_space if isinstance(policy.action_space, spaces.Box) else None
        self.squashed = box is not None and policy.squash_output
        self.register_buffer("low", None if box is None else th.as_tensor(box.low, device=policy.device))
        self.register_buffer("high", None if box is None else th.as_tensor(box.high, device=policy.device))

    def forward(self, observation: th.Tensor) -> th.Tensor:
        """Return actions (batch, ...) for observations (batch, ...)."""
        actions = self.policy._predict(observation, deterministic=True)
        if self.low is None or self.high is None:
            return actions
        actions = actions.reshape(-1, *self.low.shape)
        if self.squashed:
            return self.low + 0.5 * (actions + 1) * (self.high - self.low)
        return actions.clamp(self.low, self.high)


def export_program(model: BaseAlgorithm, batch_size: int = 1) -> th.export.ExportedProgram:
    """Return the deterministic policy as a program of ``torch.export``, for ``torch.export.save`` or AOTInductor.

    Example:

    >>> import torch as th
    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import export_program
    >>> program = export_program(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10))
    >>> program.module()(th.zeros(1, 3)).shape
    torch.Size([1, 1])

    :param model: Model whose policy has neither dictionaries as observations nor a recurrent state.
    :param batch_size: Number of observations that the program takes.
    :raises ValueError: For a policy that cannot be exported.
    """
    check_count("batch_size", batch_size)
    policy = DeterministicPolicy(model.policy).to("cpu").eval()
    with th.no_grad(), _exportable():
        program = th.export.export(policy, (_example(model.policy, batch_size),))
    program.graph.eliminate_dead_code()  # loops over nothing, which cannot be saved
    program.graph_module.recompile()
    return program


def export_onnx(model: BaseAlgorithm, path: str | Path, batch_size: int = 1) -> Path:
    """Write the deterministic policy as an ONNX file with the input "observation" and the output "action".

    Example:

    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import export_onnx
    >>> path = export_onnx(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10), "policy.onnx")

    :param model: Model whose policy has neither dictionaries as observations nor a recurrent state.
    :param path: File to write.
    :param batch_size: Number of observations that the network takes.
    :raises ValueError: For a policy that cannot be exported.
    :raises ImportError: If onnx or onnxscript is not installed.
    """
    require("onnx", "export")
    require("onnxscript", "export")
    names: dict[str, Any] = {"input_names": ["observation"], "output_names": ["action"]}
    program = th.onnx.export(export_program(model, batch_size), dynamo=True, verbose=False, **names)
    assert program is not None
    program.save(str(path), external_data=False)
    return Path(path)


def _example(policy: BasePolicy, batch_size: int) -> th.Tensor:
    space = policy.observation_space
    observation = np.zeros((batch_size, *(space.shape or ())), space.dtype)
    return th.as_tensor(observation)


@contextmanager
def _exportable() -> Iterator[None]:
    """Write out what ONNX lacks: Cholesky factors, triangular solutions (actions have few dimensions), diagonals."""
    replacements: dict[str, Callable[..., Any]] = {"cholesky_ex": _cholesky_ex, "solve_triangular": _solve_triangular}
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


def _cholesky_ex(matrix: th.Tensor) -> _Factor:
    """Return the lower Cholesky factors of (batch, d, d)."""
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


def _solve_triangular(matrix: th.Tensor, right: th.Tensor, *, upper: bool) -> th.Tensor:
    """Return the solutions of A x = b for (batch, d, d) and (batch, d, n)."""
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
