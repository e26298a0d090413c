"""The memory's training loss, and its prediction errors over several steps."""

from collections.abc import Sequence

import torch as th
from torch.nn import functional as F

from ardae_rl.world_models.data import SequenceBatch
from ardae_rl.world_models.memory import MemoryRNN, z_loss

HORIZONS = (1, 5, 15, 50)


def memory_loss(
    model: MemoryRNN,
    batch: SequenceBatch,
    kind: str = "nll",
    reward_weight: float = 1.0,
    done_weight: float = 1.0,
    done_factor: float = 1.0,
) -> tuple[th.Tensor, dict[str, th.Tensor]]:
    """Return the training loss: the latent's loss per dimension plus weighted losses of reward and end, per step.

    :param model: Memory to train.
    :param batch: Sequences.
    :param kind: Loss of the latent, see :func:`~ardae_rl.world_models.memory.z_loss`.
    :param reward_weight: Weight of the squared error of the reward.
    :param done_weight: Weight of the cross entropy of the end of an episode.
    :param done_factor: Factor by which terminal steps, which are rare, count more in the cross entropy (10 in the
        original code).
    :return: The loss, and the metrics ``nll`` (for any ``kind``), ``reward_error`` and ``done_entropy``.
    """
    prediction, _ = model(batch.z[:, :-1], batch.actions)
    mask = batch.mask.to(batch.z)
    n_steps = mask.sum()

    def mean(values: th.Tensor) -> th.Tensor:
        return (values * mask).sum() / n_steps

    next_latents = (batch.z[:, 1:], batch.mean[:, 1:], batch.log_std[:, 1:])
    latent = mean(z_loss(kind, prediction.z, *next_latents)) / model.z_dim
    reward = mean((prediction.reward - batch.rewards).square())
    factor = prediction.done_logit.new_tensor(done_factor)
    done = mean(
        F.binary_cross_entropy_with_logits(
            prediction.done_logit, batch.dones.to(batch.z), pos_weight=factor, reduction="none"
        )
    )
    with th.no_grad():
        nll = latent if kind == "nll" else mean(z_loss("nll", prediction.z, *next_latents)) / model.z_dim
    terms = {"nll": nll, "reward_error": reward, "done_entropy": done}
    return latent + reward_weight * reward + done_weight * done, {k: v.detach() for k, v in terms.items()}


@th.no_grad()
def open_loop_errors(
    model: MemoryRNN, batch: SequenceBatch, warm_up: int, horizons: Sequence[int] = HORIZONS
) -> dict[str, float]:
    """Return squared errors of multi-step predictions of latents, in units of the latents' variance.

    After ``warm_up`` steps with the true latents, the memory's inputs are its own expected next latents and the true
    actions. ``copy_<horizon>`` is the error of repeating the last true latent, which a useful memory must beat.

    :param model: Memory to evaluate.
    :param batch: Sequences. Only those without masked steps up to the last horizon are used.
    :param warm_up: Number of steps with true latents.
    :param horizons: Numbers of steps ahead that are evaluated.
    :return: ``error_<horizon>`` and ``copy_<horizon>`` for each horizon.
    :raises ValueError: If ``warm_up`` is below 1, or no sequence is long enough.
    """
    needed = warm_up + max(horizons) - 1
    rows = batch.mask[:, :needed].all(1) if batch.mask.shape[1] >= needed else th.zeros(0)
    if warm_up < 1 or not bool(rows.any()):
        raise ValueError(
            f"`warm_up` must be >= 1, and sequences must have `warm_up` + {max(horizons) - 1} steps, got {warm_up}"
        )
    z, actions = batch.mean[rows], batch.actions[rows]
    variance = z.flatten(0, 1).var(0).mean()
    prediction, state = model(z[:, :warm_up], actions[:, :warm_up])
    predicted = prediction.z.mean[:, -1]
    errors = {}
    for horizon in range(1, max(horizons) + 1):
        at = warm_up + horizon - 1
        if horizon in horizons:
            errors[f"error_{horizon}"] = float((predicted - z[:, at]).square().mean() / variance)
            errors[f"copy_{horizon}"] = float((z[:, warm_up - 1] - z[:, at]).square().mean() / variance)
        if horizon < max(horizons):
            state = model.step(predicted, actions[:, at], state)
            predicted = model.predict(state[0]).z.mean
    return errors


def prediction_errors(model: MemoryRNN, batch: SequenceBatch) -> dict[str, float]:
    """Return the errors of :func:`open_loop_errors` after a warm-up of half of the sequences' steps.

    :return: Errors at the horizons that fit into the sequences; empty if no sequence has all of these steps.
    """
    n = batch.mask.shape[1]
    warm_up = max(1, n // 2)
    horizons = [horizon for horizon in HORIZONS if warm_up + horizon - 1 <= n]  # never empty, as `n` is at least 1
    complete = batch.mask[:, : warm_up + max(horizons) - 1].all(1)
    return open_loop_errors(model, batch, warm_up, horizons) if bool(complete.any()) else {}
