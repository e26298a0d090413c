"""A variational autoencoder with an implicit posterior, whose entropy gradient comes from a score estimator."""

import math

import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.score import ARDAE, entropy_surrogate


class ImplicitEncoder(nn.Module):
    """The posterior q(z|x) as a sampler, z = g(ε, x) with ε ~ N(0, I) (Lim et al. 2020, Table 5, "toy").

    :param x_dim: Dimension of the data.
    :param z_dim: Dimension of the latent.
    :param noise_dim: Dimension of ε.
    :param hidden: Width of all layers.
    """

    def __init__(self, x_dim: int, z_dim: int, noise_dim: int, hidden: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.data_layers = nn.Sequential(nn.Linear(x_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.noise_layer = nn.Linear(noise_dim, hidden, bias=False)  # added to data_layers, it acts as one joint layer
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, z_dim))

    def forward(self, x: th.Tensor, n: int) -> th.Tensor:
        """Return ``n`` latents per data point, (batch, n, z_dim), for data (batch, x_dim)."""
        noise = th.randn(len(x), n, self.noise_dim, device=x.device, dtype=x.dtype)
        z: th.Tensor = self.layers(self.data_layers(x).unsqueeze(1) + self.noise_layer(noise))
        return z

    def center(self, x: th.Tensor) -> th.Tensor:
        """Return g(0, x), the pseudo-mean b(x) of Appendix F.2, (batch, z_dim)."""
        center: th.Tensor = self.layers(self.data_layers(x))
        return center


class GaussianDecoder(nn.Module):
    """The likelihood p(x|z), a Gaussian with a learned mean and a fixed standard deviation.

    The paper learns the variance too. Training is then slow to leave a posterior that ignores the data: the variance of
    the likelihood grows to the data's, and the encoder hardly receives a gradient.

    :param z_dim: Dimension of the latent.
    :param x_dim: Dimension of the data.
    :param hidden: Width of the two hidden layers.
    :param deviation: Standard deviation of each dimension.
    """

    def __init__(self, z_dim: int, x_dim: int, hidden: int, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation
        self.layers = nn.Sequential(
            nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, x_dim)
        )

    def forward(self, z: th.Tensor) -> Independent:
        """Return p(x|z) for latents (..., z_dim)."""
        return Independent(Normal(self.layers(z), self.deviation, validate_args=False), 1, validate_args=False)


def update_score(estimator: ARDAE, encoder: ImplicitEncoder, x: th.Tensor, n: int) -> None:
    """Update the estimator once on ``n`` latents per data point, relative to their center g(0, x)."""
    with th.no_grad():
        samples = encoder(x, n) - encoder.center(x).unsqueeze(1)
    estimator.step(samples, x)


def update_vae(
    encoder: ImplicitEncoder,
    decoder: GaussianDecoder,
    estimator: ARDAE,
    optimizer: th.optim.Optimizer,
    x: th.Tensor,
    max_grad_norm: float = 10.0,
) -> None:
    """Take one ascent step on the evidence lower bound, with one latent per data point (Eq. 17 and Algorithm 1)."""
    z = encoder(x, 1).squeeze(1)
    score = estimator.score(z.detach() - encoder.center(x).detach(), x)
    loss = -log_joint(decoder, x, z).mean() - entropy_surrogate(z, score)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], max_grad_norm)
    optimizer.step()


def log_joint(decoder: GaussianDecoder, x: th.Tensor, z: th.Tensor) -> th.Tensor:
    """Return ln p(x|z) + ln N(z; 0, I), (batch,), for x (batch, x_dim) and z (batch, z_dim)."""
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    log_likelihood: th.Tensor = decoder(z).log_prob(x)
    return log_likelihood + log_prior
