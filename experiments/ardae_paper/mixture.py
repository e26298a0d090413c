"""The mixture of Section 4.2, 0.5 N(2, 0.25) + 0.5 N(-2, 0.25), whose score is known at every noise scale."""

import torch as th

MEANS = (-2.0, 2.0)
VARIANCE = 0.25


def sample(n: int) -> th.Tensor:
    """Return n samples, (n, 1)."""
    means = th.tensor(MEANS)[th.randint(len(MEANS), (n,))]
    return (means + VARIANCE**0.5 * th.randn(n)).unsqueeze(1)


def score(x: th.Tensor, noise_scale: float = 0.0) -> th.Tensor:
    """Return f*(x; σ), the optimal residual for denoising at σ, in the shape of x; at σ = 0, the score itself.

    It equals ∇ ln p_σ of p_σ = p * N(0, σ²), again a mixture, with variance 0.25 + σ². (The S'_i printed in App. D.1
    divides x by σ, but not the means and deviations, and does not tend to the score as σ goes to 0.)
    """
    variance = VARIANCE + noise_scale**2
    residuals = th.stack([mean - x for mean in MEANS])  # (components, *shape of x)
    responsibilities = th.softmax(-0.5 * residuals.square() / variance, dim=0)
    return (responsibilities * residuals).sum(0) / variance
