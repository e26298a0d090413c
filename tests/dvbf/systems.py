"""Random linear-Gaussian systems."""

import torch as th

from ardae_rl.dvbf.linear_gaussian import LinearGaussianSSM


def system(d: int = 2, obs_dim: int = 2, act_dim: int = 1, seed: int = 0) -> LinearGaussianSSM:
    """Return a random stable system, in float64."""
    generator = th.Generator().manual_seed(seed)

    def draw(*shape: int) -> th.Tensor:
        return th.randn(shape, generator=generator, dtype=th.float64)

    def definite(n: int) -> th.Tensor:
        root = 0.4 * draw(n, n)
        return root @ root.mT + 0.2 * th.eye(n, dtype=th.float64)

    a = draw(d, d)
    a = 0.9 * a / th.linalg.matrix_norm(a, 2)
    return LinearGaussianSSM(
        a, draw(d, act_dim), draw(obs_dim, d), definite(d), definite(obs_dim), draw(d), definite(d)
    )


def data(ssm: LinearGaussianSSM, length: int, batch: int = 3, seed: int = 1) -> tuple[th.Tensor, th.Tensor]:
    """Return sampled observations, and their controls."""
    generator = th.Generator().manual_seed(seed)
    u = th.randn(batch, length, ssm.b.shape[1], generator=generator, dtype=th.float64)
    return ssm.sample(u, generator)[1], u
