"""The bounds, importance sampling and entropy gradients where p(x), p(z|x) or the entropy is known."""

from typing import Any

import pytest
import torch as th
from torch import nn

from experiments.ardae_paper.mnist.bounds import AuxiliaryBound, Bound, EstimatedBound, GaussianBound, TractableBound
from experiments.ardae_paper.mnist.entropy import ClassifierEntropy, EntropyGradient, ScoreEntropy
from experiments.ardae_paper.mnist.evaluation import laplace_estimate, paper_estimate
from experiments.ardae_paper.mnist.posteriors import (
    GaussianPosterior,
    HierarchicalPosterior,
    ImplicitPosterior,
    Posterior,
)
from tests.experiments.ardae_paper.mnist.linear_model import LinearDecoder, linear_autoencoder

DIM, N_PIXELS, HIDDEN, NOISE_DIM = 3, 5, 32, 8
ESTIMATOR: dict[str, Any] = {
    "parameterization": "score",
    "standardize": False,
    "network_kwargs": {"hidden": (32, 32), "context_hidden": (32,)},
}
CLASSIFIER: dict[str, Any] = {"hidden": (32, 32), "context_hidden": (32,)}


def make_bound(method: str) -> tuple[Bound, LinearDecoder]:
    posterior: Posterior
    if method == "gaussian":
        posterior = GaussianPosterior(N_PIXELS, DIM, HIDDEN)
    elif method.startswith("hvi"):
        posterior = HierarchicalPosterior(N_PIXELS, DIM, NOISE_DIM, HIDDEN, HIDDEN)
    else:
        posterior = ImplicitPosterior(N_PIXELS, DIM, NOISE_DIM, HIDDEN)
    model, decoder = linear_autoencoder(posterior, N_PIXELS)
    if method == "gaussian":
        return GaussianBound(model), decoder
    if method == "hvi_aux":
        return AuxiliaryBound(model, N_PIXELS, NOISE_DIM, HIDDEN), decoder
    entropy: EntropyGradient
    if method == "avb":
        entropy = ClassifierEntropy(posterior, N_PIXELS, CLASSIFIER, 1e-3, frame="diagonal", n_latents=4)
    elif method == "ivi_ardae_paper":
        network = ESTIMATOR["network_kwargs"] | {"activation": "softplus"}
        # The paper's s = 10⁴ needs more updates than a test can make
        estimator = {"paper": True, "averaging": 1, "network_kwargs": network, "input_scale": 1.0}
        estimator |= {"learning_rate": 3e-3}
        entropy = ScoreEntropy(posterior, N_PIXELS, estimator, frame="center", n_latents=8)
    else:
        entropy = ScoreEntropy(posterior, N_PIXELS, ESTIMATOR, frame="moments", n_latents=4)
    return EstimatedBound(model, entropy), decoder


def train(bound: Bound, decoder: LinearDecoder, n_updates: int) -> None:
    own = () if isinstance(bound, EstimatedBound) else bound.parameters()
    optimizer = th.optim.Adam([*bound.model.posterior.parameters(), *own], lr=3e-3)
    for step in range(n_updates):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / n_updates)
        loss = -bound.objective(decoder.marginal().sample((128,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("hvi_aux", "avb", "hvi_ardae", "ivi_ardae_paper")]


@pytest.mark.parametrize("method", ["gaussian", "ivi_ardae", *SLOW])
def test_log_prob_and_bound_of_a_linear_model(method: str) -> None:
    """Importance sampling agrees with the known ln p(x) within three standard errors, and no bound is above it."""
    th.manual_seed(0)
    bound, decoder = make_bound(method)
    train(bound, decoder, 400)
    x = decoder.marginal().sample((64,))
    exact = decoder.marginal().log_prob(x)
    for result in (paper_estimate(bound.model, bound, x, 4000), laplace_estimate(bound.model, x, 4000)):
        standard_error = result.standard_error.square().sum().sqrt() / len(x)
        assert abs(result.log_prob.mean() - exact.mean()) < 3 * standard_error
        within = (result.log_prob - exact).abs() < 3 * result.standard_error
        assert within.float().mean() > 0.95
    assert laplace_estimate(bound.model, x, 4000).sample_size.min() > 3800, "it is the posterior, with a wide component"
    if isinstance(bound, TractableBound):
        values = bound.log_weights(x, 4000).mean(1)
        gap = exact - values
        assert gap.min() > -0.05 and 0 < gap.mean() < 1.5


def linear_implicit() -> ImplicitPosterior:
    """Return an implicit posterior that is linear in its noise, because all of its units are far above zero."""
    posterior = ImplicitPosterior(N_PIXELS, DIM, NOISE_DIM, HIDDEN)
    nn.init.constant_(posterior.feature_layer.bias, 30.0)  # ten standard deviations
    nn.init.normal_(posterior.noise_layer.weight)
    nn.init.normal_(posterior.output_layer.weight)
    return posterior


def gradient_error(layers: nn.Module, entropy: EntropyGradient, exact: th.Tensor, n_updates: int) -> float:
    """Train the estimate on a posterior that stays, and return the relative error of its gradient by some layers."""
    parameters = list(layers.parameters())
    true = flat_gradient(exact, parameters)
    rate = entropy.optimizer.param_groups[0]["lr"]
    features = th.zeros(256, N_PIXELS)
    for step in range(n_updates):
        entropy.optimizer.param_groups[0]["lr"] = rate * (1 - step / n_updates)
        with th.no_grad():
            entropy.draw(features)
    entropy.optimizer.param_groups[0]["lr"] = 0.0
    estimated = th.zeros_like(true)
    for _ in range(20):
        estimated += flat_gradient(entropy.draw(th.zeros(10_000, N_PIXELS))[1], parameters) / 20
    return float((estimated - true).norm() / true.norm())


def flat_gradient(value: th.Tensor, parameters: list[nn.Parameter]) -> th.Tensor:
    gradients = th.autograd.grad(value, parameters, allow_unused=True)
    return th.cat(
        [th.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, gradients, strict=True)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["moments", "diagonal", "paper"])
def test_entropy_gradient_of_a_gaussian(form: str) -> None:
    """AR-DAE's gradient is within five percent of that of ln det, also where the frame does not give it away."""
    th.manual_seed(0)
    posterior = linear_implicit()
    arguments: dict[str, Any] = {"frame": form, "n_latents": 4}
    if form == "paper":
        network = ESTIMATOR["network_kwargs"] | {"activation": "softplus"}
        entropy = ScoreEntropy(
            posterior,
            N_PIXELS,
            {"paper": True, "averaging": 1, "network_kwargs": network, "input_scale": 0.1, "learning_rate": 3e-3},
            **arguments | {"frame": "center", "n_latents": 8},
        )
    else:
        entropy = ScoreEntropy(posterior, N_PIXELS, ESTIMATOR | {"learning_rate": 3e-3}, **arguments)
    jacobian = posterior.output_layer.weight @ posterior.noise_layer.weight
    exact = 0.5 * th.logdet(jacobian @ jacobian.mT)
    assert (
        gradient_error(posterior.noise_layer, entropy, exact, {"moments": 5, "diagonal": 300, "paper": 1200}[form])
        < 0.05
    )


def quadrature_entropy(posterior: HierarchicalPosterior, n_outer: int = 400, n_inner: int = 2000) -> th.Tensor:
    """Return the entropy of a posterior with scalar z and z0, by integration on two grids."""
    features = th.zeros(1, N_PIXELS)
    q0 = posterior.auxiliary(features)
    grid = th.linspace(-5, 5, n_outer)
    auxiliary = (q0.mean + grid.unsqueeze(1) * q0.stddev).unsqueeze(0)
    weights = (-0.5 * grid.square()).softmax(0)
    conditional = posterior.conditional(features, auxiliary).base_dist
    mean, deviation = conditional.mean.flatten(), conditional.stddev.flatten()
    low, high = float((mean - 6 * deviation).min()), float((mean + 6 * deviation).max())
    z = th.linspace(low, high, n_inner)
    densities = th.distributions.Normal(mean, deviation).log_prob(z.unsqueeze(1)) + weights.log()
    log_density = densities.logsumexp(1)
    return -(log_density.exp() * log_density).sum() * (high - low) / (n_inner - 1)


def bimodal_posterior() -> HierarchicalPosterior:
    posterior = HierarchicalPosterior(N_PIXELS, 1, 1, HIDDEN)
    nn.init.normal_(posterior.noise_layer.weight, std=2.0)
    nn.init.normal_(posterior.head.mean.weight, std=0.5)
    nn.init.constant_(posterior.head.log_variance.bias, -1.0)
    return posterior


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bound"), [("ardae", 0.05), ("avb", 0.1)])
def test_entropy_gradient_of_a_mixture(method: str, bound: float) -> None:
    """The posterior is far from Gaussian; its entropy is integrated numerically."""
    th.manual_seed(3)
    posterior = bimodal_posterior()
    arguments: dict[str, Any] = {"frame": "moments", "n_latents": 8}
    entropy: EntropyGradient
    if method == "avb":
        entropy = ClassifierEntropy(posterior, N_PIXELS, CLASSIFIER, 3e-3, **arguments)
    else:
        entropy = ScoreEntropy(posterior, N_PIXELS, ESTIMATOR | {"learning_rate": 3e-3}, **arguments)
    assert gradient_error(posterior, entropy, quadrature_entropy(posterior), 800) < bound
