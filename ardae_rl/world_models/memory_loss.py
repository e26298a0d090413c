"""What the memory is trained for, and how far ahead it sees."""

from collections.abc import Sequence
from typing import Protocol

import torch as th
from torch.nn import functional as F

from ardae_rl.world_models.memory import MemoryRNN, z_loss

HORIZONS = (1, 5, 15, 50)


class Sequences(Protocol):
    """Steps (z_t, a_t) and what followed them, T of them in each row."""

    @property
    def z(self) -> th.Tensor: ...  # (batch, T + 1, z_dim), draws of V's posteriors

    @property
    def mean(self) -> th.Tensor: ...  # of these posteriors

    @property
    def log_std(self) -> th.Tensor: ...

    @property
    def actions(self) -> th.Tensor: ...  # (batch, T, action_dim)

    @property
    def rewards(self) -> th.Tensor: ...  # (batch, T)

    @property
    def dones(self) -> th.Tensor: ...  # (batch, T), whether the step ended the episode

    @property
    def mask(self) -> th.Tensor: ...  # (batch, T), whether the episode had that step


def memory_loss(
    model: MemoryRNN,
    batch: Sequences,
    kind: str = "nll",
    reward_weight: float = 1.0,
    done_weight: float = 1.0,
    done_factor: float = 1.0,
) -> tuple[th.Tensor, dict[str, th.Tensor]]:
    """The mean over steps of the latent's loss for each dimension, and weighted ones of reward and end.

    :param kind: of the latent's, see :func:`~ardae_rl.world_models.memory.z_loss`
    :param reward_weight: of the squared error of the reward
    :param done_weight: of the cross entropy of the end of an episode
    :param done_factor: of steps that are an end, in that entropy; they are rare (10 in the original)
    :return: the loss; its parts, and "nll" whichever loss is trained
    """
    prediction, _ = model(batch.z[:, :-1], batch.actions)
    mask = batch.mask.to(batch.z)
    n_steps = mask.sum()

    def mean(values: th.Tensor) -> th.Tensor:
        return (values * mask).sum() / n_steps

    following = (batch.z[:, 1:], batch.mean[:, 1:], batch.log_std[:, 1:])
    latent = mean(z_loss(kind, prediction.z, *following)) / model.z_dim
    reward = mean((prediction.reward - batch.rewards).square())
    factor = prediction.done_logit.new_tensor(done_factor)
    done = mean(
        F.binary_cross_entropy_with_logits(
            prediction.done_logit, batch.dones.to(batch.z), pos_weight=factor, reduction="none"
        )
    )
    with th.no_grad():
        nll = latent if kind == "nll" else mean(z_loss("nll", prediction.z, *following)) / model.z_dim
    terms = {"nll": nll, "reward_error": reward, "done_entropy": done}
    return latent + reward_weight * reward + done_weight * done, {k: v.detach() for k, v in terms.items()}


@th.no_grad()
def open_loop_errors(
    model: MemoryRNN, batch: Sequences, warm_up: int, horizons: Sequence[int] = HORIZONS
) -> dict[str, float]:
    """Squared errors of latents foreseen from their own predictions, in units of the latents' variance.

    After ``warm_up`` steps with the true latents, the expectation of each next one goes in as the next latent, with
    the true actions. Beside the errors those of the last true latent ("copy"): a memory that foresees less is none.

    :param batch: rows without a step that the mask excludes count alone
    :raises ValueError: if no row is long enough
    """
    needed = warm_up + max(horizons) - 1
    rows = batch.mask[:, :needed].all(1) if batch.mask.shape[1] >= needed else th.zeros(0)
    if warm_up < 1 or not bool(rows.any()):
        raise ValueError(f"warm_up={warm_up!r}, horizons={horizons!r}: accepted are as many steps as sequences have")
    z, actions = batch.mean[rows], batch.actions[rows]
    variance = z.flatten(0, 1).var(0).mean()
    prediction, state = model(z[:, :warm_up], actions[:, :warm_up])
    foreseen = prediction.z.mean[:, -1]
    errors = {}
    for horizon in range(1, max(horizons) + 1):
        at = warm_up + horizon - 1
        if horizon in horizons:
            errors[f"error_{horizon}"] = float((foreseen - z[:, at]).square().mean() / variance)
            errors[f"copy_{horizon}"] = float((z[:, warm_up - 1] - z[:, at]).square().mean() / variance)
        if horizon < max(horizons):
            state = model.step(foreseen, actions[:, at], state)
            foreseen = model.predict(state[0]).z.mean
    return errors
