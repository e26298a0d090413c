"""Jacobian clamping (Lim et al. 2020, App. G.2), which keeps a sampler's Jacobian in its noise from vanishing."""

from dataclasses import dataclass

import torch as th

from ardae_rl.common.checks import check_choice, check_count, check_min, check_number, check_positive

OUTPUTS = ("tanh", "pre_tanh")


@dataclass(frozen=True)
class JacobianClamping:
    """Penalty λ_i E[min(r - η, 0)²] on finite-difference ratios r = ‖g(ε + ξv) - g(ε)‖² / ‖ξv‖² of a sampler g.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.jacobian_clamping import JacobianClamping
    >>> clamping = JacobianClamping(eta=0.1, n_perturbations=3)
    >>> noise = clamping.perturb(th.randn(8, 1, 4))
    >>> noise.shape
    torch.Size([8, 4, 4])
    >>> clamping.penalty(noise, 0.01 * noise) > 0  # a sampler that shrinks its noise a hundredfold
    tensor(True)

    :param eta: η, the smallest ratio without a penalty. 0 switches clamping off.
    :param xi: ξ, the step size of the finite differences.
    :param nu: ν, the growth of the weight λ_i = min(1 + i^ν / 1000, ``max_weight``) with the gradient step i.
    :param max_weight: Upper bound of that weight.
    :param output: Output of the policy whose Jacobian is clamped: "tanh" (the action) or "pre_tanh".
    :param n_perturbations: Number of random directions v for each noise vector.
    :raises ValueError: For a setting outside of its range.
    """

    eta: float = 0.001
    xi: float = 0.01
    nu: float = 1.1
    max_weight: float = 1e5
    output: str = "tanh"
    n_perturbations: int = 1

    def __post_init__(self) -> None:
        check_min("eta", self.eta, 0)
        check_positive("xi", self.xi)
        check_number("nu", self.nu)
        check_positive("max_weight", self.max_weight)
        check_choice("output", self.output, OUTPUTS)
        check_count("n_perturbations", self.n_perturbations)

    @property
    def enabled(self) -> bool:
        """Whether clamping is switched on."""
        return self.eta > 0

    def perturb(self, noise: th.Tensor) -> th.Tensor:
        """Stack ε and its perturbations ε + ξv, v ~ N(0, I), so that one pass of the sampler gives all outputs.

        :param noise: ε, shape (batch, 1, noise_dim).
        :return: Shape (batch, 1 + n_perturbations, noise_dim).
        """
        shape = len(noise), self.n_perturbations, noise.shape[-1]
        direction = th.randn(shape, device=noise.device, dtype=noise.dtype)
        return th.cat([noise, noise + self.xi * direction], dim=1)

    def penalty(self, noise: th.Tensor, pre_tanh: th.Tensor) -> th.Tensor:
        """Return E[min(r - η, 0)²], which is zero where all ratios are at least η.

        :param noise: Noise from :meth:`perturb`, shape (batch, 1 + n, noise_dim).
        :param pre_tanh: The sampler's outputs for that noise before tanh, shape (batch, 1 + n, dim).
        """
        outputs = th.tanh(pre_tanh) if self.output == "tanh" else pre_tanh
        return (squared_ratios(noise, outputs) - self.eta).clamp(max=0).square().mean()

    def weight(self, iteration: th.Tensor) -> th.Tensor:
        """Return λ_i, the weight of the penalty at gradient step i."""
        return (1 + iteration**self.nu / 1000).clamp(max=self.max_weight)


def squared_ratios(noise: th.Tensor, outputs: th.Tensor) -> th.Tensor:
    """Return the finite-difference ratios ‖g(ε + ξv) - g(ε)‖² / ‖ξv‖², shape (batch, n).

    Each ratio is a mean of the squared singular values of the Jacobian, weighted by the direction. Clamping bounds this
    weighted mean from below, not the smallest singular value.

    :param noise: ε and its perturbations, shape (batch, 1 + n, noise_dim).
    :param outputs: The sampler's outputs for them, shape (batch, 1 + n, dim).
    """
    output_steps, noise_steps = outputs[:, 1:] - outputs[:, :1], noise[:, 1:] - noise[:, :1]
    return output_steps.square().sum(-1) / noise_steps.square().sum(-1)
