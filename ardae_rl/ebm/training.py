"""Gradient steps, schedules and checks shared by the training of all energy-based models."""

import math

import torch as th

from ardae_rl.common.finite import check_all_finite

ADAM_BETAS = (0.5, 0.99)
"""Coefficients of Adam. The momentum is low because each loss changes with the opponent or the chains."""


def gradient_step(optimizer: th.optim.Optimizer, loss: th.Tensor) -> None:
    """Take one optimizer step down the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def cosine_decay(optimizer: th.optim.Optimizer, first: float, last: float) -> th.optim.lr_scheduler.LRScheduler:
    """Return a schedule that takes the learning rate to zero along a cosine, between steps ``first`` and ``last``."""

    def factor(step: int) -> float:
        if last <= first:
            return float(step < last)
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, (step - first) / (last - first))))

    return th.optim.lr_scheduler.LambdaLR(optimizer, factor)


def random_batch(data: th.Tensor, batch_size: int) -> th.Tensor:
    """Draw rows of the data with replacement."""
    return data[th.randint(len(data), (batch_size,), device=data.device)]


def check_data(data: th.Tensor, dim: int) -> None:
    """Check training data.

    :raises ValueError: Unless the data has shape (n, dim) with n >= 2 and is finite.
    """
    if data.dim() != 2 or data.shape[1] != dim or len(data) < 2:
        raise ValueError(f"`data` must have shape (n, {dim}) with n >= 2, got {tuple(data.shape)}")
    check_all_finite("data", data)


def finite_metrics(step: int, **metrics: th.Tensor) -> dict[str, float]:
    """Return the metrics as numbers, with the step.

    :raises ValueError: If one of them is not finite.
    """
    row: dict[str, float] = {"step": step}
    for name, tensor in metrics.items():
        row[name] = tensor.item()
        if not math.isfinite(row[name]):
            raise ValueError(f"{name} is {row[name]} after {step} steps: training has diverged")
    return row
