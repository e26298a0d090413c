"""Energy-based models: exact where q is fixed, and with the samplers at small sizes."""

import copy
import math
from typing import Any

import pytest
import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.ebm.energy import EnergyNetwork, energy_gradient, langevin
from ardae_rl.ebm.gan import ARDAESampler, EnergyBasedGAN, FlowSampler, MarkovChainEBM

SMALL: dict[str, Any] = {"energy_kwargs": {"hidden": (32, 32)}}
NETWORK = {"network_kwargs": {"hidden": (8,)}}
KINDS: dict[str, dict[str, Any]] = {
    "flow": {"sampler": "flow", "sampler_kwargs": {"n_transforms": 1, "hidden": (8,)}},
    "implicit": {
        "sampler": "implicit",
        "sampler_kwargs": {"hidden": (8,), "score_kwargs": NETWORK},
    },
}


class Fixed:
    """A Gaussian that follows nothing."""

    def __init__(self, deviation: float, mean: float = 0.0) -> None:
        self.distribution = Independent(Normal(th.full((2,), mean), deviation * th.ones(2)), 1)
        self._parameter = nn.Parameter(th.zeros(1))

    def log_prob(self, x: th.Tensor) -> th.Tensor:
        log_q: th.Tensor = self.distribution.log_prob(x)
        return log_q

    def sample(self, n: int) -> th.Tensor:
        return self.distribution.sample((n,))

    def loss(self, energy: Any, n: int) -> th.Tensor:
        return 0 * self._parameter.sum()

    def observe(self, x: th.Tensor) -> None:
        pass

    def follow(self, n: int) -> None:
        pass

    def normalise(self) -> None:
        pass

    def optimizers(self) -> tuple[()]:
        return ()

    def parameters(self) -> list[nn.Parameter]:
        return [self._parameter]


class Parabola(nn.Module):
    """½ |x|² / σ²"""

    def __init__(self, deviation: float = 1.0) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: th.Tensor) -> th.Tensor:
        return 0.5 * (x / self.deviation).square().sum(-1)

    def gaussian(self) -> Independent:
        return Independent(Normal(th.zeros(2), 2 * th.ones(2)), 1)


def data(n: int = 5000) -> th.Tensor:
    """From N((1, 0), 0.7² I)."""
    return th.tensor([1.0, 0.0]) + 0.7 * th.randn(n, 2)


@pytest.mark.parametrize("objective", ["gan", "cost"])
@pytest.mark.parametrize("partition", ["mixture", "learned"])
def test_density_with_a_fixed_sampler(partition: str, objective: str) -> None:
    """Told from samples of a broad Gaussian, the energy becomes the data's, normalised."""
    if (partition, objective) == ("learned", "cost"):
        return
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(2.0), partition, objective, **SMALL)
    model.fit(data(), n_steps=600, batch_size=256)
    x = data(2000)
    truth = Independent(Normal(th.tensor([1.0, 0.0]), 0.7 * th.ones(2)), 1).log_prob(x)
    divergence = float((truth - model.log_prob(x)).mean())
    assert abs(divergence) < 0.05


@pytest.mark.parametrize("defence", [0.0, 0.3])
def test_true_partition_function(defence: float) -> None:
    """Of a given energy, by samples of a Gaussian around it; the sampler's estimate needs no data."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(1.0), "sampler", defence=defence)
    model.energy = Parabola(0.5)  # type: ignore[assignment]
    model.normalise(th.zeros(2, 2), n_samples=50_000)
    assert float(model.partition.log_z) == pytest.approx(math.log(2 * math.pi * 0.25), abs=0.02)
    model = EnergyBasedGAN(2, Fixed(1.0), "mixture", defence=defence)
    model.energy = Parabola(0.5)  # type: ignore[assignment]
    model.normalise(0.5 * th.randn(50_000, 2), n_samples=50_000)
    assert float(model.partition.log_z) == pytest.approx(math.log(2 * math.pi * 0.25), abs=0.02)


def test_defence_by_hand() -> None:
    """A share of the proposal's points, and its density, are the broad Gaussian's."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(0.1, mean=5.0), defence=0.25)
    x = model._proposal(4000)
    assert int((x < 4).any(1).sum()) == pytest.approx(1000, abs=20) and len(x) == 4000
    q, broad = (
        Independent(Normal(th.full((2,), mean), th.full((2,), scale)), 1) for mean, scale in [(5, 0.1), (0, 2.0)]
    )
    density = 0.75 * q.log_prob(x).double().exp() + 0.25 * broad.log_prob(x).double().exp()
    th.testing.assert_close(model._proposal_log_prob(x).double(), density.log(), atol=1e-4, rtol=1e-4)


def test_defence_where_the_sampler_misses_a_mode() -> None:
    """Two modes, of which q has one: the divergence is small, and large without the defence."""
    th.manual_seed(0)
    x = (4 * th.randint(2, (5000, 1)) - 2) + 0.7 * th.randn(5000, 2)
    parts = [Independent(Normal(th.full((2,), mean), th.full((2,), 0.7)), 1).log_prob(x) for mean in (-2.0, 2.0)]
    truth = th.logaddexp(*parts) - math.log(2)
    divergences = {}
    for defence in (0.0, 0.25):
        model = EnergyBasedGAN(2, Fixed(0.7, mean=2.0), defence=defence, **SMALL)
        model.fit(x, n_steps=600, batch_size=256)
        model.partition.log_z.fill_(float(grid_log_z(model)))
        divergences[defence] = float((truth - model.log_prob(x)).mean())
    assert abs(divergences[0.25]) < 0.1 and divergences[0.0] > 1


def grid_log_z(model: EnergyBasedGAN) -> th.Tensor:
    side = th.linspace(-8, 8, 401)
    with th.no_grad():
        return (-model.energy(th.cartesian_prod(side, side))).logsumexp(0) + 2 * math.log(16 / 400)


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_have_the_data_s_units(kind: str) -> None:
    """Before they learn: what they sample, and its density, are those of standard units, moved and scaled."""
    th.manual_seed(0)
    centre, scale = th.tensor([100.0, -3.0]), th.tensor([20.0, 0.5])
    model = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    plain = model.sampler
    moved = copy.deepcopy(plain)
    x = centre + scale * th.randn(20_000, 2)
    plain.observe((x - centre) / scale)
    moved.observe(x)
    samples = []
    for sampler in (plain, moved):
        th.manual_seed(1)
        samples.append(sampler.sample(50))
    th.testing.assert_close(samples[1], centre + scale * samples[0], rtol=1e-4, atol=1e-2)
    if kind == "flow":
        th.testing.assert_close(
            moved.log_prob(samples[1]), plain.log_prob(samples[0]) - scale.log().sum(), rtol=1e-3, atol=1e-3
        )
    standard = (moved.sample(5000) - centre) / scale
    assert standard.mean(0).abs().max() < 0.5 and standard.std(0).min() > 0.3
    if kind == "implicit":
        th.testing.assert_close(standard.std(0), th.ones(2), atol=0.05, rtol=0)


def test_instance_noise_falls_to_nothing_and_the_sampler_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 0.4, and in 0.7 of the steps."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS["implicit"], **SMALL)
    x, deviations, weights = 10 * data(2000), [], []
    loss = model._loss

    def recording(demos: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor]:
        deviations.append(float(demos.std(0).mean()) / 7)
        weights.append(next(model.sampler.parameters()).detach().clone())
        return loss(demos, n)

    monkeypatch.setattr(model, "_loss", recording)
    model.fit(x, n_steps=10, batch_size=4000, instance_noise=1.0)
    assert deviations[0] == pytest.approx(math.sqrt(2), abs=0.05)
    assert deviations[2] == pytest.approx(math.sqrt(1.25), abs=0.05)
    assert deviations[4:] == pytest.approx([1.0] * 6, abs=0.05)
    assert not th.equal(weights[6], weights[7])
    assert all(th.equal(weights[7], later) for later in weights[8:])


@pytest.mark.parametrize("normalization", ["contrastive", "importance"])
def test_density_integrates_to_one(normalization: str) -> None:
    """Of an estimator that is off by e; one whose queries are normalised anyway is left alone."""
    th.manual_seed(0)
    score_kwargs: dict[str, Any] = {"network_kwargs": {"hidden": (16,)}, "normalization": normalization}
    if normalization == "importance":
        score_kwargs["normalization_kwargs"] = {"n_samples": 2000}
    sampler = ARDAESampler(2, score_kwargs=score_kwargs)
    sampler.estimator.update(th.randn(2000, 2))
    with th.no_grad():
        sampler.estimator._query_model.network.output_layer.bias.add_(1.0)
    side = th.linspace(-8, 8, 161)
    masses = []
    for normalise in (False, True):
        if normalise:
            sampler.normalise()
        masses.append(float(sampler.log_prob(th.cartesian_prod(side, side)).exp().sum()) * 0.1**2)
    assert masses[1] == pytest.approx(1, abs=0.05)
    assert (masses[0] > 2) == (normalization == "contrastive")
    assert (float(sampler.log_mass) != 0) == (normalization == "contrastive")
    sampler.observe(data(100))
    assert float(sampler.log_mass) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_samplers(kind: str) -> None:
    """Both train, give finite densities, and come back from their state."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    before = [parameter.clone() for parameter in model.sampler.parameters()]
    rows = model.fit(data(200), n_steps=20, batch_size=32)
    assert len(rows) == 20 and set(rows[0]) == {"step", "loss", "demo_logit", "log_partition"}
    assert any(not th.equal(a, b) for a, b in zip(before, model.sampler.parameters(), strict=True))
    if kind == "implicit":  # what its density is off was measured
        assert float(model.sampler.log_mass) != 0
    x = model.sample(50)
    assert x.shape == (50, 2) and th.isfinite(model.log_prob(x)).all() and not x.requires_grad
    other = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    other.load_state_dict(model.state_dict())
    th.testing.assert_close(other.log_prob(x), model.log_prob(x))
    th.testing.assert_close(other.sampler.log_prob(x), model.sampler.log_prob(x))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [FlowSampler, ARDAESampler])
def test_samplers_follow_an_energy(sampler: type[FlowSampler] | type[ARDAESampler]) -> None:
    """With the energy of N(0, 0.25 I), which both reach: mean, deviation, and ln q as the samples' own."""
    th.manual_seed(0)
    q = sampler(2, hidden=(32, 32))
    energy = Parabola(0.5)
    optimizer = th.optim.Adam(q.parameters(), lr=5e-3)
    decay = th.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for _ in range(500):
        q.follow(256)
        optimizer.zero_grad()
        q.loss(energy, 256).backward()
        optimizer.step()
        decay.step()
    x = q.sample(20_000)
    assert x.mean(0).abs().max() < 0.03
    th.testing.assert_close(x.std(0), th.full((2,), 0.5), atol=0.03, rtol=0)
    truth = Independent(Normal(th.zeros(2), 0.5 * th.ones(2)), 1).log_prob(x)
    assert abs(float((truth - q.log_prob(x)).mean())) < 0.05


def test_langevin() -> None:
    """Its stationary distribution is that of the energy, up to the step's length."""
    th.manual_seed(0)
    x = langevin(Parabola(0.5), th.zeros(5000, 2), n_steps=300, step_size=0.1)
    th.testing.assert_close(x.std(0), th.full((2,), 0.5), atol=0.02, rtol=0)
    points = th.randn(7, 2)
    th.testing.assert_close(energy_gradient(Parabola(0.5), points), points / 0.25)


@pytest.mark.parametrize("persistent", [False, True])
def test_contrastive_divergence(persistent: bool) -> None:
    """The energy's minimum and width are the data's."""
    th.manual_seed(0)
    model = MarkovChainEBM(2, persistent, step_size=0.3, **SMALL)
    model.fit(data(), n_steps=300, batch_size=256, energy_weight=0.0)
    points = th.cartesian_prod(th.linspace(-2, 4, 121), th.linspace(-3, 3, 121))
    with th.no_grad():
        weights = (-model.energy(points)).softmax(0).unsqueeze(-1)
    mean = (weights * points).sum(0)
    th.testing.assert_close(mean, th.tensor([1.0, 0.0]), atol=0.1, rtol=0)
    deviation = (weights * (points - mean).square()).sum(0).sqrt()
    th.testing.assert_close(deviation, th.full((2,), 0.7), atol=0.15, rtol=0)


def test_gaussian_envelope() -> None:
    """Far out, the energy grows as the Gaussian's does: Z is finite."""
    network = EnergyNetwork(2, n_frequencies=8)
    network.observe(data())
    far = th.tensor([[100.0, 0.0], [0.0, -100.0]])
    assert (network(far) > 100).all()


def test_frequencies_by_hand() -> None:
    th.manual_seed(0)
    network, x = EnergyNetwork(2, n_frequencies=3), th.randn(5, 2)
    phases = x @ network.features.frequencies
    seen = th.cat([x, phases.sin(), phases.cos()], 1)
    th.testing.assert_close(network(x), network.network(seen)[:, 0] + x.square().sum(1) / 8)


def test_learning_rates_fall_and_begin_anew() -> None:
    """The estimator's too, and in a second training."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS["implicit"], **SMALL)
    for _ in range(2):
        before = [parameter.clone() for parameter in model.sampler.estimator.model.parameters()]
        model.fit(data(100), n_steps=3, batch_size=16)
        after = model.sampler.estimator.model.parameters()
        assert any(not th.equal(a, b) for a, b in zip(before, after, strict=True))
        assert all(group["lr"] < 1e-9 for group in model.sampler.estimator.optimizer.param_groups)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="`sampler` must be one of 'flow', 'implicit', got 'gan'"):
        EnergyBasedGAN(2, "gan")
    with pytest.raises(ValueError, match="got 'mle'"):
        EnergyBasedGAN(2, Fixed(1.0), objective="mle")
    with pytest.raises(ValueError, match=r"defence=1\.0: accepted are numbers from 0 to below 1"):
        EnergyBasedGAN(2, Fixed(1.0), defence=1.0)
    with pytest.raises(ValueError, match="noise_dim=1: accepted are numbers from dim=2 up"):
        EnergyBasedGAN(2, "implicit", sampler_kwargs={"noise_dim": 1})
    with pytest.raises(ValueError, match="instance_noise=-1: accepted are numbers from 0 up"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 2), instance_noise=-1)
    with pytest.raises(ValueError, match="partition='learned' with objective='cost'"):
        EnergyBasedGAN(2, Fixed(1.0), "learned", "cost")
    with pytest.raises(ValueError, match=r"data of shape \(5,\): accepted are finite rows"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5))
    with pytest.raises(ValueError, match="`n_steps` must be positive, got 0"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 2), n_steps=0)


@pytest.mark.parametrize("model", [EnergyBasedGAN(2, Fixed(1.0)), MarkovChainEBM(2)])
def test_divergence_is_named(model: Any) -> None:
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="loss is nan after 1 steps: training has diverged"):
        model.fit(data(10), n_steps=1)
