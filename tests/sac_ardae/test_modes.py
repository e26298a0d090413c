"""The most probable action from samples: known modes, and the mean where there is one."""

import math

import pytest
import torch as th

from ardae_rl.sac_ardae.modes import most_probable


@pytest.mark.parametrize("dim", [1, 2, 6, 17])
def test_mean_of_normal_samples(dim: int) -> None:
    """Noise of the density is not taken for a mode: at most one of a hundred states."""
    th.manual_seed(0)
    modes = most_probable(th.randn(300, 128, dim), 0.3)
    assert (modes != 0).any(1).float().mean() <= 0.01


@pytest.mark.parametrize("dim", [2, 3])
def test_center_of_one_of_three_modes(dim: int) -> None:
    th.manual_seed(0)
    angles = 2 * math.pi / 3 * th.randint(3, (100, 128))
    samples = th.randn(100, 128, dim)
    samples[..., :2] = 1.36 * th.stack([angles.cos(), angles.sin()], -1) + 0.28 * samples[..., :2]
    modes = most_probable(samples, 0.3)
    th.testing.assert_close(modes.norm(dim=1)[:, None], th.full((100, 1), 1.36), rtol=0, atol=0.6)
    nearest = 2 * math.pi / 3 * (th.atan2(modes[:, 1], modes[:, 0]) / (2 * math.pi / 3)).round()
    th.testing.assert_close(th.atan2(modes[:, 1], modes[:, 0]), nearest, rtol=0, atol=0.4)


def test_the_larger_mode_wins() -> None:
    th.manual_seed(0)
    is_small = th.rand(50, 128, 1) < 0.3
    samples = th.where(is_small, 1.5, -0.64) + 0.2 * th.randn(50, 128, 1)
    th.testing.assert_close(most_probable(samples, 0.3), th.full((50, 1), -0.64), rtol=0, atol=0.15)


def test_top_of_the_density() -> None:
    """The result is where another mean shift would hardly move, not one of the samples."""
    th.manual_seed(0)
    signs = th.where(th.rand(20, 64, 1) < 0.5, -1.0, 1.0)
    samples = signs + 0.3 * th.randn(20, 64, 1)
    modes = most_probable(samples, 0.3)
    variance = max(0.3, 64 ** (-1 / 5)) ** 2
    weights = (-0.5 / variance * (modes[:, None] - samples).square()).softmax(1)
    assert float(((weights * samples).sum(1) - modes).abs().max()) < 0.01
    assert float((modes[:, None] - samples).abs().min()) > 0
