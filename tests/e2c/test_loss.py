"""The loss against values worked out by hand, and the effects of its options."""

import math

import pytest
import torch as th
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from ardae_rl.e2c.loss import CONTRASTIVE_STD, OUTLIER, E2CLoss, E2CModel, _contrast, _curvature, e2c_loss
from ardae_rl.e2c.transition import LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, ImageDecoder

SHAPE = (1, 4, 4)


def model(seed: int = 0, matrix: str = "rank_one", process_noise: float = 0.0) -> E2CModel:
    th.manual_seed(seed)
    return E2CModel(
        GaussianEncoder(SHAPE, 2, (8,)),
        ImageDecoder(2, SHAPE, (8,)),
        LocallyLinearTransition(2, 1, (8,), matrix, process_noise),
    )


def data(k: int, n: int = 5) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(0)
    return th.rand(n, k + 1, *SHAPE, generator=generator).round(), th.randn(n, k, 1, generator=generator)


@pytest.mark.parametrize("matrix", ["rank_one", "full"])
def test_one_step_by_hand(matrix: str) -> None:
    networks, (images, actions) = model(matrix=matrix), data(1)
    weights = E2CLoss(prior_weight=2.0, transition_weight=3.0)
    th.manual_seed(1)
    loss, terms = e2c_loss(networks, images, actions, weights)
    th.manual_seed(1)
    mean, log_std = networks.encoder(images[:, 0])
    z = mean + log_std.exp() * th.randn_like(mean)
    a, b, offset, *_ = networks.transition(z)
    next_state = (a @ z[..., None] + b @ actions[:, 0, :, None]).squeeze(-1) + offset

    def log_likelihood(z: th.Tensor, image: th.Tensor) -> th.Tensor:
        return Independent(Bernoulli(logits=networks.decoder(z)), 3).log_prob(image)

    prior = kl_divergence(Independent(Normal(mean, log_std.exp()), 1), Independent(Normal(th.zeros(2), th.ones(2)), 1))
    propagated = th.distributions.MultivariateNormal(
        (a @ mean[..., None] + b @ actions[:, 0, :, None]).squeeze(-1) + offset,
        a @ th.diag_embed((2 * log_std).exp()) @ a.mT,
    )
    next_mean, next_log_std = networks.encoder(images[:, 1])
    encoded = th.distributions.MultivariateNormal(next_mean, th.diag_embed((2 * next_log_std).exp()))
    expected = (
        -log_likelihood(z, images[:, 0])
        - log_likelihood(next_state, images[:, 1])
        + 2 * prior
        + 3 * kl_divergence(propagated, encoded)
    ).mean()
    th.testing.assert_close(loss, expected)
    assert set(terms) == {"reconstruction", "prediction", "kl_prior", "kl_transition"}


def test_more_steps() -> None:
    """Without noise in the encoder, the loss is the mean error of the predicted images over the steps."""
    networks, (images, actions) = model(), data(3)
    networks.encoder.layers[-1].bias.data[2:] = -100  # type: ignore[operator]
    networks.encoder.layers[-1].weight.data[2:] = 0  # type: ignore[operator]
    loss, terms = e2c_loss(networks, images, actions, E2CLoss(prior_weight=0, transition_weight=0))
    z, _ = networks.encoder(images[:, 0])
    expected = []
    for t in range(3):
        z = networks.transition(z)(z, actions[:, t])
        expected.append(-Independent(Bernoulli(logits=networks.decoder(z)), 3).log_prob(images[:, t + 1]).mean())
    th.testing.assert_close(terms["prediction"], th.stack(expected).mean(), atol=0.1, rtol=0.01)
    th.testing.assert_close(loss, terms["prediction"] + terms["reconstruction"])


@pytest.mark.parametrize("process_noise", [0.0, 0.2])
@pytest.mark.parametrize("matrix", ["rank_one", "full"])
def test_divergence_of_two_steps_by_hand(matrix: str, process_noise: float) -> None:
    """The first Gaussian is propagated twice, each time at the sample of the latent."""
    networks, (images, actions) = model(1, matrix, process_noise), data(2)
    th.manual_seed(1)
    _, terms = e2c_loss(networks, images, actions, E2CLoss())
    th.manual_seed(1)
    mean, log_std = networks.encoder(images[:, 0])
    covariance, z = th.diag_embed((2 * log_std).exp()), mean + log_std.exp() * th.randn_like(mean)
    divergences = []
    for t in range(2):
        a, b, offset, *_ = networks.transition(z)
        mean, z = (
            (a @ x[..., None] + b @ actions[:, t, :, None]).squeeze(-1) + offset + noise
            for x, noise in ((mean, 0.0), (z, process_noise * th.randn_like(z) if process_noise else 0.0))
        )
        covariance = a @ covariance @ a.mT + process_noise**2 * th.eye(2)
        next_mean, next_log_std = networks.encoder(images[:, t + 1])
        encoded = th.distributions.MultivariateNormal(next_mean, th.diag_embed((2 * next_log_std).exp()))
        divergences.append(kl_divergence(th.distributions.MultivariateNormal(mean, covariance), encoded).mean())
    th.testing.assert_close(terms["kl_transition"], sum(divergences) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("process_noise", [0.0, 0.2])
@pytest.mark.parametrize("k", [1, 3])
def test_all_networks_are_trained(k: int, process_noise: float) -> None:
    networks, (images, actions) = model(process_noise=process_noise), data(k)
    loss, terms = e2c_loss(
        networks, images, actions, E2CLoss(consistency_weight=1.0, curvature_weight=1.0, contrastive_weight=1.0)
    )
    parts = {"reconstruction", "prediction", "kl_prior", "kl_transition", "consistency", "curvature", "contrastive"}
    assert set(terms) == parts
    loss.backward()
    for network in (networks.encoder, networks.decoder, networks.transition):
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_steps_that_flatten_the_posterior() -> None:
    """Three nearly singular matrices give a covariance that is singular in single precision."""
    networks, (images, actions) = model(), data(3)
    last = networks.transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data.zero_()
    last.bias.data[:4] = th.tensor([-3.0, -3.0, 3.0, -2.9])  # v and r
    divergence = e2c_loss(networks, images, actions, E2CLoss())[1]["kl_transition"]
    for network in (networks.encoder, networks.decoder, networks.transition):
        network.double()
    exact = e2c_loss(networks, images.double(), actions.double(), E2CLoss())[1]["kl_transition"]
    th.testing.assert_close(divergence.double(), exact, rtol=1e-3, atol=0)


def test_a_linear_transition_has_no_curvature() -> None:
    networks, (images, actions) = model(), data(1)
    networks.transition.network[-1].weight.data.mul_(10)  # type: ignore[operator]
    curved = e2c_loss(networks, images, actions, E2CLoss(curvature_weight=1.0))[1]["curvature"]
    networks.transition.network[-1].weight.data.zero_()  # type: ignore[operator]
    networks.transition.network[-1].bias.data.normal_()  # type: ignore[operator]
    flat = e2c_loss(networks, images, actions, E2CLoss(curvature_weight=1.0))[1]["curvature"]
    assert float(curved) > 1e-6 > float(flat)


def test_consistency_does_not_depend_on_the_scale() -> None:
    """Scaling the map and the transition down by a hundred does not lower the loss."""
    networks, (images, actions) = model(matrix="full"), data(1, n=50)
    last = networks.transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data.zero_()
    weights = E2CLoss(consistency_weight=1.0)
    before = e2c_loss(networks, images, actions, weights)[1]["consistency"]
    encoder = networks.encoder.layers[-1]
    assert isinstance(encoder, th.nn.Linear)
    encoder.weight.data[:2] /= 100
    encoder.bias.data[:2] /= 100
    last.bias.data[4:] /= 100  # B and o; A stays
    th.testing.assert_close(e2c_loss(networks, images, actions, weights)[1]["consistency"], before, rtol=1e-3, atol=0)


def test_gradients_of_consistency_and_curvature() -> None:
    """The scale of the latents is a constant in the former, and the latter does not move them at all."""
    networks, (images, actions) = model(2), data(1)
    parameters = [*networks.encoder.parameters(), *networks.transition.parameters()]

    def gradients(consistency_weight: float) -> list[th.Tensor]:
        th.manual_seed(1)
        loss, _ = e2c_loss(networks, images, actions, E2CLoss(consistency_weight=consistency_weight))
        return list(th.autograd.grad(loss, parameters))

    without = gradients(0.0)
    mean, next_mean = networks.encoder(images[:, 0])[0], networks.encoder(images[:, 1])[0]
    spread = th.stack([mean, next_mean], 1).flatten(0, 1).std(0).detach()
    predicted = networks.transition(mean)(mean, actions[:, 0])
    inconsistency = ((predicted - next_mean) / spread).square().sum(-1).mean()
    expected = th.autograd.grad(inconsistency, parameters)
    for both, one, difference in zip(gradients(1.0), without, expected, strict=True):
        th.testing.assert_close(both - one, difference, rtol=1e-3, atol=1e-3)
    z, u = th.randn(5, 2, requires_grad=True), th.randn(5, 1, requires_grad=True)
    _curvature(networks.transition, z, u, 1.0).backward()
    assert z.grad is None and u.grad is None
    assert all(p.grad is not None for p in networks.transition.parameters())


def test_contrast_by_hand() -> None:
    """Minus the log-probability of the successor among the latents of the batch."""
    networks, (images, actions) = model(), data(1)
    th.manual_seed(1)
    contrast = e2c_loss(networks, images, actions, E2CLoss(contrastive_weight=1.0))[1]["contrastive"]
    th.manual_seed(1)
    mean = networks.encoder(images.flatten(0, 1))[0].view(5, 2, 2)
    th.randn_like(mean[:, 0])  # what the sample of the first latent took
    next_state = mean[:, 1] + CONTRASTIVE_STD * th.randn(5, 2)
    predicted = networks.transition(mean[:, 0])(mean[:, 0], actions[:, 0])
    squares = th.cdist(predicted, next_state).square() / CONTRASTIVE_STD**2
    density = (-0.5 * squares).exp() + math.exp(OUTLIER)
    expected = -(density.diagonal() / density.sum(1)).log().mean()
    th.testing.assert_close(contrast, expected, rtol=1e-3, atol=1e-5)


def test_all_steps_are_predicted_from_the_first_image() -> None:
    """Consistency and contrast of three steps propagate the first mean, and ignore the images in between."""
    networks, (images, actions) = model(), data(3)
    th.manual_seed(1)
    terms = e2c_loss(networks, images, actions, E2CLoss(consistency_weight=1.0, contrastive_weight=1.0))[1]
    mean = networks.encoder(images.flatten(0, 1))[0].view(5, 4, 2)
    th.manual_seed(1)
    th.randn(5, 2)  # what the sample of the first latent took
    z, consistency, contrast = mean[:, 0], [], []
    for t in range(3):
        z = networks.transition(z)(z, actions[:, t])
        consistency.append(((z - mean[:, t + 1]) / mean.flatten(0, 1).std(0)).square().sum(-1).mean())
        contrast.append(_contrast(z, mean[:, t + 1]))
    th.testing.assert_close(terms["consistency"], th.stack(consistency).mean())
    th.testing.assert_close(terms["contrastive"], th.stack(contrast).mean())


def test_a_successor_that_nothing_foretells_pulls_nothing() -> None:
    """The contrastive gradient vanishes for a latent far from its prediction."""
    predicted = th.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    for offset, pulled in ((0.3, True), (2.0, False)):
        next_state = predicted + th.tensor([[offset, 0.0], [0.0, 0.0], [0.0, 0.0]])
        next_state.requires_grad_()
        th.manual_seed(0)
        _contrast(predicted, next_state).backward()
        assert next_state.grad is not None
        assert (next_state.grad[0].norm() > 0.1) == pulled
        assert pulled or next_state.grad[0].norm() < 1e-3


def test_bad_arguments() -> None:
    images, actions = data(2)
    with pytest.raises(ValueError, match=r"`actions` must have one step per sequence with .*, got 2"):
        e2c_loss(model(), images, actions, E2CLoss(transition_sample="resample"))
    with pytest.raises(ValueError, match="`transition_sample` must be one of 'same', 'resample', got 'other'"):
        E2CLoss(transition_sample="other")
    with pytest.raises(ValueError, match="`curvature_weight` must be >= 0, got -1"):
        E2CLoss(curvature_weight=-1)
