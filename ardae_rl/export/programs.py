"""Policies for deployment, by ``torch.export`` and ONNX."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.common.optional import require
from ardae_rl.export.policies import DeterministicPolicy, WorldModelDecision
from ardae_rl.export.replacements import exportable
from ardae_rl.world_models.policies import WorldModelPolicy


def export_program(model: BaseAlgorithm, batch_size: int = 1) -> th.export.ExportedProgram:
    """Return the deterministic policy as a program of ``torch.export``, for ``torch.export.save`` or AOTInductor.

    It is a :class:`~ardae_rl.export.policies.DeterministicPolicy`, or for ``WorldModels`` a
    :class:`~ardae_rl.export.policies.WorldModelDecision`.

    Example:

    >>> import torch as th
    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import export_program
    >>> program = export_program(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10))
    >>> program.module()(th.zeros(1, 3)).shape
    torch.Size([1, 1])

    :param model: Model of ``WorldModels``, or one whose policy maps a vector or an image to an action, without planning
        and without a recurrent state.
    :param batch_size: Number of observations that the program takes.
    :raises ValueError: For a policy that cannot be exported.
    """
    check_count("batch_size", batch_size)
    form = _form(model)
    with th.no_grad(), exportable():
        program = th.export.export(form.module.to("cpu").eval(), form.example(batch_size))
    program.graph.eliminate_dead_code()  # empty loops, which cannot be saved
    program.graph_module.recompile()
    return program


def export_onnx(model: BaseAlgorithm, path: str | Path, batch_size: int = 1) -> Path:
    """Write the deterministic policy as an ONNX file with the input "observation" and the output "action".

    For ``WorldModels``, the inputs "h" and "c" are the memory's state before the decision, and the outputs "next_h" and
    "next_c" its state afterwards.

    Example:

    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import export_onnx
    >>> path = export_onnx(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10), "policy.onnx")

    :param model: Model of ``WorldModels``, or one whose policy maps a vector or an image to an action, without planning
        and without a recurrent state.
    :param path: File to write.
    :param batch_size: Number of observations that the network takes.
    :raises ValueError: For a policy that cannot be exported.
    :raises ImportError: If onnx or onnxscript is not installed.
    """
    require("onnx", "export")
    require("onnxscript", "export")
    form, exported = _form(model), export_program(model, batch_size)
    names: dict[str, Any] = {"input_names": form.inputs, "output_names": form.outputs}
    program = th.onnx.export(exported, dynamo=True, verbose=False, **names)
    assert program is not None
    program.save(str(path), external_data=False)
    return Path(path)


class _Form(NamedTuple):
    """The exported module of a model, with its inputs and outputs."""

    module: nn.Module
    inputs: list[str]
    outputs: list[str]
    shapes: list[tuple[int, ...]]  # of the inputs, without the batch
    dtype: Any  # of the observations

    def example(self, batch_size: int) -> tuple[th.Tensor, ...]:
        dtypes = [self.dtype, *[np.float32] * (len(self.shapes) - 1)]
        pairs = zip(self.shapes, dtypes, strict=True)
        return tuple(th.as_tensor(np.zeros((batch_size, *shape), dtype)) for shape, dtype in pairs)


def _form(model: BaseAlgorithm) -> _Form:
    policy: Any = _copied(model.policy)  # which is moved to the CPU and put into evaluation mode
    shape, dtype = tuple(policy.observation_space.shape or ()), policy.observation_space.dtype
    if isinstance(policy, WorldModelPolicy):
        memory = (policy.memory.hidden,)
        names = ["observation", "h", "c"], ["action", "next_h", "next_c"]
        return _Form(WorldModelDecision(policy), *names, [shape, memory, memory], dtype)
    return _Form(DeterministicPolicy(policy), ["observation"], ["action"], [shape], dtype)


def _copied(policy: BasePolicy) -> BasePolicy:
    """Return a copy. State-dependent exploration keeps results of a network, which are copied without its graph."""
    memo: dict[int, Any] = {}
    for module in (policy, getattr(policy, "actor", None)):
        distribution = getattr(module, "action_dist", None)
        if isinstance(distribution, StateDependentNoiseDistribution):
            for part in vars(distribution).values():
                for value in (part, *vars(part).values()) if isinstance(part, th.distributions.Normal) else (part,):
                    if isinstance(value, th.Tensor) and not value.is_leaf:
                        memo[id(value)] = value.detach()
    return copy.deepcopy(policy, memo)
