"""The entropy gradient of a linear sampler x = A z + b, which is A^-T with respect to A and zero with respect to b."""

import pytest
import torch as th

from ardae_rl.score import ARDAE, entropy_surrogate

WEIGHT = th.tensor([[1.0, 0.5, 0.0], [-0.3, 0.8, 0.2], [0.1, 0.0, 0.5]], dtype=th.float64)
SHIFT = th.tensor([3.0, -1.0, 0.0], dtype=th.float64)


def whitened(n: int) -> th.Tensor:
    """Return standard normal draws, (n, 3), whose sample mean and covariance are exactly 0 and I."""
    z = th.randn(n, 3, dtype=th.float64)
    z = z - z.mean(0)
    return z @ th.linalg.inv(th.linalg.cholesky(z.t() @ z / n)).t()


def test_with_the_true_score() -> None:
    th.manual_seed(0)
    weight, shift = WEIGHT.clone().requires_grad_(), SHIFT.clone().requires_grad_()
    x = whitened(1000) @ weight.t() + shift
    score = -(x - SHIFT) @ th.linalg.inv(WEIGHT @ WEIGHT.t())
    entropy_surrogate(x, score).backward()
    assert weight.grad is not None and shift.grad is not None
    th.testing.assert_close(weight.grad, th.linalg.inv(WEIGHT).t(), rtol=1e-6, atol=1e-6)
    th.testing.assert_close(shift.grad, th.zeros_like(SHIFT), rtol=0, atol=1e-6)


def test_with_a_trained_estimator() -> None:
    th.manual_seed(0)
    weight, shift = WEIGHT.float(), SHIFT.float()
    estimator = ARDAE(dim=3, network_kwargs={"hidden": (32, 32)})
    for update in range(800):
        if update == 400:
            for group in estimator.optimizer.param_groups:
                group["lr"] = 2e-4
        estimator.update(th.randn(1024, 3) @ weight.t() + shift)
    weight.requires_grad_()
    x = whitened(8000).float() @ weight.t() + shift
    entropy_surrogate(x, estimator.score(x)).backward()
    truth = th.linalg.inv(WEIGHT).t().float()
    assert weight.grad is not None
    assert (weight.grad - truth).norm() / truth.norm() == pytest.approx(0, abs=0.02)
