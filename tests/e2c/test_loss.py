"""The loss by hand, and what its options mean."""

import math

import pytest
import torch as th
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from ardae_rl.e2c.loss import CONTRASTIVE_STD, OUTLIER, E2CModel, E2CWeights, _contrast, e2c_loss
from ardae_rl.e2c.transition import LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, PictureDecoder

SHAPE = (1, 4, 4)


def model(seed: int = 0, matrix: str = "rank_one", process_noise: float = 0.0) -> E2CModel:
    th.manual_seed(seed)
    return E2CModel(
        GaussianEncoder(SHAPE, 2, (8,)),
        PictureDecoder(2, SHAPE, (8,)),
        LocallyLinearTransition(2, 1, (8,), matrix, process_noise),
    )


def data(k: int, n: int = 5) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(0)
    return th.rand(n, k + 1, *SHAPE, generator=generator).round(), th.randn(n, k, 1, generator=generator)


@pytest.mark.parametrize("matrix", ["rank_one", "full"])
def test_one_step_by_hand(matrix: str) -> None:
    networks, (pictures, actions) = model(matrix=matrix), data(1)
    weights = E2CWeights(prior=2.0, transition=3.0)
    th.manual_seed(1)
    loss, terms = e2c_loss(networks, pictures, actions, weights)
    th.manual_seed(1)
    mean, log_std = networks.encoder(pictures[:, 0])
    z = mean + log_std.exp() * th.randn_like(mean)
    a, b, offset, *_ = networks.transition(z)
    following = (a @ z[..., None] + b @ actions[:, 0, :, None]).squeeze(-1) + offset

    def log_likelihood(z: th.Tensor, picture: th.Tensor) -> th.Tensor:
        return Independent(Bernoulli(logits=networks.decoder(z)), 3).log_prob(picture)

    prior = kl_divergence(Independent(Normal(mean, log_std.exp()), 1), Independent(Normal(th.zeros(2), th.ones(2)), 1))
    pushed = th.distributions.MultivariateNormal(
        (a @ mean[..., None] + b @ actions[:, 0, :, None]).squeeze(-1) + offset,
        a @ th.diag_embed((2 * log_std).exp()) @ a.mT,
    )
    next_mean, next_log_std = networks.encoder(pictures[:, 1])
    encoded = th.distributions.MultivariateNormal(next_mean, th.diag_embed((2 * next_log_std).exp()))
    expected = (
        -log_likelihood(z, pictures[:, 0])
        - log_likelihood(following, pictures[:, 1])
        + 2 * prior
        + 3 * kl_divergence(pushed, encoded)
    ).mean()
    th.testing.assert_close(loss, expected)
    assert set(terms) == {"reconstruction", "prediction", "kl_prior", "kl_transition"}


def test_more_steps() -> None:
    """Without noise in the encoder, the mean over steps of what each foreseen picture misses."""
    networks, (pictures, actions) = model(), data(3)
    networks.encoder.layers[-1].bias.data[2:] = -100  # type: ignore[operator]
    networks.encoder.layers[-1].weight.data[2:] = 0  # type: ignore[operator]
    loss, terms = e2c_loss(networks, pictures, actions, E2CWeights(prior=0, transition=0))
    z, _ = networks.encoder(pictures[:, 0])
    expected = []
    for t in range(3):
        z = networks.transition(z)(z, actions[:, t])
        expected.append(-Independent(Bernoulli(logits=networks.decoder(z)), 3).log_prob(pictures[:, t + 1]).mean())
    th.testing.assert_close(terms["prediction"], th.stack(expected).mean(), atol=0.1, rtol=0.01)
    th.testing.assert_close(loss, terms["prediction"] + terms["reconstruction"])


@pytest.mark.parametrize("process_noise", [0.0, 0.2])
@pytest.mark.parametrize("k", [1, 3])
def test_all_networks_are_trained(k: int, process_noise: float) -> None:
    networks, (pictures, actions) = model(process_noise=process_noise), data(k)
    loss, terms = e2c_loss(networks, pictures, actions, E2CWeights(consistency=1.0, curvature=1.0, contrastive=1.0))
    parts = {"reconstruction", "prediction", "kl_prior", "kl_transition", "consistency", "curvature", "contrastive"}
    assert set(terms) == parts
    loss.backward()
    for network in (networks.encoder, networks.decoder, networks.transition):
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_steps_that_flatten_the_posterior() -> None:
    """Three matrices with a determinant near zero leave a covariance that single precision takes for singular."""
    networks, (pictures, actions) = model(), data(3)
    last = networks.transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data.zero_()
    last.bias.data[:4] = th.tensor([-3.0, -3.0, 3.0, -2.9])  # v and r
    divergence = e2c_loss(networks, pictures, actions, E2CWeights())[1]["kl_transition"]
    for network in (networks.encoder, networks.decoder, networks.transition):
        network.double()
    exact = e2c_loss(networks, pictures.double(), actions.double(), E2CWeights())[1]["kl_transition"]
    th.testing.assert_close(divergence.double(), exact, rtol=1e-3, atol=0)


def test_a_linear_transition_has_no_curvature() -> None:
    networks, (pictures, actions) = model(), data(1)
    networks.transition.network[-1].weight.data.mul_(10)  # type: ignore[operator]
    curved = e2c_loss(networks, pictures, actions, E2CWeights(curvature=1.0))[1]["curvature"]
    networks.transition.network[-1].weight.data.zero_()  # type: ignore[operator]
    networks.transition.network[-1].bias.data.normal_()  # type: ignore[operator]
    flat = e2c_loss(networks, pictures, actions, E2CWeights(curvature=1.0))[1]["curvature"]
    assert float(curved) > 1e-6 > float(flat)


def test_consistency_does_not_depend_on_the_scale() -> None:
    """A map that is a hundred times as small gains nothing, if the transition is scaled with it."""
    networks, (pictures, actions) = model(matrix="full"), data(1, n=50)
    last = networks.transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data.zero_()
    weights = E2CWeights(consistency=1.0)
    before = e2c_loss(networks, pictures, actions, weights)[1]["consistency"]
    encoder = networks.encoder.layers[-1]
    assert isinstance(encoder, th.nn.Linear)
    encoder.weight.data[:2] /= 100
    encoder.bias.data[:2] /= 100
    last.bias.data[4:] /= 100  # B and o; A stays
    th.testing.assert_close(e2c_loss(networks, pictures, actions, weights)[1]["consistency"], before, rtol=1e-3, atol=0)


def test_contrast_by_hand() -> None:
    """-ln of the successor's share, by densities of what each picture's latent is pushed to."""
    networks, (pictures, actions) = model(), data(1)
    th.manual_seed(1)
    contrast = e2c_loss(networks, pictures, actions, E2CWeights(contrastive=1.0))[1]["contrastive"]
    th.manual_seed(1)
    mean = networks.encoder(pictures.flatten(0, 1))[0].view(5, 2, 2)
    th.randn_like(mean[:, 0])  # what the sample of the first latent took
    following = mean[:, 1] + CONTRASTIVE_STD * th.randn(5, 2)
    foreseen = networks.transition(mean[:, 0])(mean[:, 0], actions[:, 0])
    squares = th.cdist(foreseen, following).square() / CONTRASTIVE_STD**2
    density = (-0.5 * squares).exp() + math.exp(OUTLIER)
    expected = -(density.diagonal() / density.sum(1)).log().mean()
    th.testing.assert_close(contrast, expected, rtol=1e-3, atol=1e-5)


def test_all_steps_are_foreseen_from_the_first_picture() -> None:
    """Consistency and contrast of three steps: the first mean is pushed on, pictures between are not looked at."""
    networks, (pictures, actions) = model(), data(3)
    th.manual_seed(1)
    terms = e2c_loss(networks, pictures, actions, E2CWeights(consistency=1.0, contrastive=1.0))[1]
    mean = networks.encoder(pictures.flatten(0, 1))[0].view(5, 4, 2)
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
    """The gradient of the contrast, on a latent that is far from where it was expected."""
    foreseen = th.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    for offset, pulled in ((0.3, True), (2.0, False)):
        following = foreseen + th.tensor([[offset, 0.0], [0.0, 0.0], [0.0, 0.0]])
        following.requires_grad_()
        th.manual_seed(0)
        _contrast(foreseen, following).backward()
        assert following.grad is not None
        assert (following.grad[0].norm() > 0.1) == pulled
        assert pulled or following.grad[0].norm() < 1e-3


def test_near_things_look_alike_when_blurred() -> None:
    """What an encoder makes of a point that moves by a pixel, relative to one that moves by six."""
    pictures = th.zeros(3, 1, 12, 12)
    for picture, column in zip(pictures, (2, 3, 8), strict=True):
        picture[0, 5, column] = 1.0
    ratios = {}
    for blur in (0.0, 3.0):
        th.manual_seed(0)
        means = th.stack([GaussianEncoder((1, 12, 12), 2, (64,), blur=blur)(pictures)[0] for _ in range(200)])
        distances = (means[:, :1] - means[:, 1:]).square().sum(-1).mean(0).sqrt()
        ratios[blur] = float(distances[0] / distances[1])
    assert ratios[0.0] == pytest.approx(1, abs=0.1)
    assert ratios[3.0] < 0.5


def test_blurred_noise_keeps_its_size() -> None:
    kernel = GaussianEncoder((1, 40, 30), 2, (8,), blur=3.0).rows
    th.testing.assert_close(kernel[20].square().sum(), th.tensor(1.0))


def test_motion_by_hand() -> None:
    """Differences of consecutive pictures in place of all but the newest, and a map that has no use for the rest."""
    th.manual_seed(0)
    encoder, pictures = GaussianEncoder((3, 4, 4), 2, (8,), motion=5.0), th.rand(6, 3, 4, 4)
    oldest, older, newest = pictures.unbind(1)
    seen = th.stack([5 * (older - oldest), 5 * (newest - older), newest], 1)
    th.testing.assert_close(encoder(pictures)[0], encoder.layers(seen)[:, :2])
    blurred = GaussianEncoder((3, 4, 4), 2, (8,), blur=2.0, motion=5.0)
    still = pictures[:, :1].expand(-1, 3, -1, -1)
    first = blurred.layers[1]
    assert isinstance(first, th.nn.Linear)
    first.weight.data[:, 32:] = 0
    assert bool((blurred(still)[0] == blurred(th.zeros(1, 3, 4, 4))[0]).all())


def test_bad_arguments() -> None:
    pictures, actions = data(2)
    with pytest.raises(ValueError, match="transition_sample='resample' with sequences of 2 steps: accepted is 1"):
        e2c_loss(model(), pictures, actions, E2CWeights(), "resample")
    with pytest.raises(ValueError, match="transition_sample='other'"):
        e2c_loss(model(), pictures, actions, E2CWeights(), "other")
    with pytest.raises(ValueError, match="blur=-1: accepted are numbers from 0 up"):
        GaussianEncoder(SHAPE, 2, blur=-1)
    with pytest.raises(ValueError, match=r"motion=2.0 with pictures of shape \(1, 4, 4\): accepted is 0"):
        GaussianEncoder(SHAPE, 2, motion=2.0)
    with pytest.raises(ValueError, match="curvature=-1: accepted are numbers from 0 up"):
        E2CWeights(curvature=-1)
