"""EnergyBasedGAN: exact with a fixed sampler, and with trained samplers at small sizes."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.ebm import EnergyBasedGAN, gan
from ardae_rl.ebm.samplers import ARDAESampler, FlowSampler
from tests.ebm.gaussian import Parabola, data

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
    """A Gaussian that does not learn."""

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

    def fit_scale(self, data: th.Tensor) -> None:
        pass

    def update_density(self, n: int) -> None:
        pass

    def normalize(self) -> None:
        pass

    def optimizers(self) -> tuple[()]:
        return ()

    def parameters(self) -> list[nn.Parameter]:
        return [self._parameter]


@pytest.mark.parametrize(("partition", "objective"), [("mixture", "gan"), ("mixture", "cost"), ("learned", "gan")])
def test_density_with_a_fixed_sampler(partition: str, objective: str) -> None:
    """Contrasted with samples of a broad Gaussian, the density becomes the data's, normalized."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(2.0), partition, objective, **SMALL)
    model.fit(data(), n_steps=600, batch_size=256)
    x = data(2000)
    truth = Independent(Normal(th.tensor([1.0, 0.0]), 0.7 * th.ones(2)), 1).log_prob(x)
    divergence = float((truth - model.log_prob(x)).mean())
    assert abs(divergence) < 0.05


@pytest.mark.parametrize("defensive_weight", [0.0, 0.3])
def test_true_partition_function(defensive_weight: float) -> None:
    """ln Z of a known energy, from samples of a Gaussian around it; the estimate "sampler" needs no data."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(1.0), "sampler", defensive_weight=defensive_weight)
    model.energy = Parabola(0.5)  # type: ignore[assignment]
    model.normalize(th.zeros(2, 2), n_samples=50_000)
    assert float(model.partition.log_z) == pytest.approx(math.log(2 * math.pi * 0.25), abs=0.02)
    model = EnergyBasedGAN(2, Fixed(1.0), "mixture", defensive_weight=defensive_weight)
    model.energy = Parabola(0.5)  # type: ignore[assignment]
    model.normalize(0.5 * th.randn(50_000, 2), n_samples=50_000)
    assert float(model.partition.log_z) == pytest.approx(math.log(2 * math.pi * 0.25), abs=0.02)


def test_defensive_mixture_by_hand() -> None:
    """The broad Gaussian has its share of the proposal's points and of its density."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, Fixed(0.1, mean=5.0), defensive_weight=0.25)
    x = model.proposal.sample(4000)
    assert int((x < 4).any(1).sum()) == pytest.approx(1000, abs=20) and len(x) == 4000
    q, broad = (
        Independent(Normal(th.full((2,), mean), th.full((2,), scale)), 1) for mean, scale in [(5, 0.1), (0, 2.0)]
    )
    density = 0.75 * q.log_prob(x).double().exp() + 0.25 * broad.log_prob(x).double().exp()
    th.testing.assert_close(model.proposal.log_prob(x).double(), density.log(), atol=1e-4, rtol=1e-4)


def test_defensive_mixture_if_the_sampler_misses_a_mode() -> None:
    """With q on one of two modes, the divergence is small, and large without the mixture."""
    th.manual_seed(0)
    x = (4 * th.randint(2, (5000, 1)) - 2) + 0.7 * th.randn(5000, 2)
    parts = [Independent(Normal(th.full((2,), mean), th.full((2,), 0.7)), 1).log_prob(x) for mean in (-2.0, 2.0)]
    truth = th.logaddexp(*parts) - math.log(2)
    divergences = {}
    for defensive_weight in (0.0, 0.25):
        model = EnergyBasedGAN(2, Fixed(0.7, mean=2.0), defensive_weight=defensive_weight, **SMALL)
        model.fit(x, n_steps=600, batch_size=256)
        model.partition.log_z.fill_(float(grid_log_z(model)))
        divergences[defensive_weight] = float((truth - model.log_prob(x)).mean())
    assert abs(divergences[0.25]) < 0.1 and divergences[0.0] > 1


def grid_log_z(model: EnergyBasedGAN) -> th.Tensor:
    """Return ln Z, integrated on a grid."""
    side = th.linspace(-8, 8, 401)
    with th.no_grad():
        return (-model.energy(th.cartesian_prod(side, side))).logsumexp(0) + 2 * math.log(16 / 400)


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_have_the_units_of_the_data(kind: str) -> None:
    """Before training, samples and density are those for standardized data, shifted and scaled."""
    th.manual_seed(0)
    center, scale = th.tensor([100.0, -3.0]), th.tensor([20.0, 0.5])
    model = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    plain: Any = model.sampler
    moved = copy.deepcopy(plain)
    x = center + scale * th.randn(20_000, 2)
    plain.fit_scale((x - center) / scale)
    moved.fit_scale(x)
    samples = []
    for sampler in (plain, moved):
        th.manual_seed(1)
        samples.append(sampler.sample(50))
    th.testing.assert_close(samples[1], center + scale * samples[0], rtol=1e-4, atol=1e-2)
    if kind == "flow":
        th.testing.assert_close(
            moved.log_prob(samples[1]), plain.log_prob(samples[0]) - scale.log().sum(), rtol=1e-3, atol=1e-3
        )
    standard = (moved.sample(5000) - center) / scale
    assert standard.mean(0).abs().max() < 0.5 and standard.std(0).min() > 0.3
    if kind == "implicit":
        th.testing.assert_close(standard.std(0), th.ones(2), atol=0.05, rtol=0)


def test_instance_noise_is_annealed_and_the_sampler_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise is zero after 0.4 of the steps, and the sampler is fixed after 0.7 of them."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS["implicit"], **SMALL)
    x, deviations, weights = 10 * data(2000), [], []
    loss = model.energy_loss

    def recording(batch: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        deviations.append(float(batch.std(0).mean()) / 7)
        weights.append(next(iter(model.sampler.parameters())).detach().clone())
        return loss(batch)

    monkeypatch.setattr(model, "energy_loss", recording)
    model.fit(x, n_steps=10, batch_size=4000, instance_noise=1.0)
    assert deviations[0] == pytest.approx(math.sqrt(2), abs=0.05)
    assert deviations[2] == pytest.approx(math.sqrt(1.25), abs=0.05)
    assert deviations[4:] == pytest.approx([1.0] * 6, abs=0.05)
    assert not th.equal(weights[6], weights[7])
    assert all(th.equal(weights[7], later) for later in weights[8:])


@pytest.mark.parametrize("normalization", ["contrastive", "importance"])
def test_density_integrates_to_one(normalization: str) -> None:
    """A density that is off by a factor e is normalized; one that is normalized at each query is left alone."""
    th.manual_seed(0)
    score_kwargs: dict[str, Any] = {"network_kwargs": {"hidden": (16,)}, "normalization": normalization, "averaging": 1}
    if normalization == "importance":
        score_kwargs["normalization_kwargs"] = {"n_samples": 2000}
    sampler = ARDAESampler(2, score_kwargs=score_kwargs)
    sampler.estimator.update(th.randn(2000, 2))
    with th.no_grad():
        sampler.estimator.model.network.output_layer.bias.add_(1.0)
    side = th.linspace(-8, 8, 161)
    masses = []
    for normalized in (False, True):
        if normalized:
            sampler.normalize()
        masses.append(float(sampler.log_prob(th.cartesian_prod(side, side)).exp().sum()) * 0.1**2)
    assert masses[1] == pytest.approx(1, abs=0.05)
    assert (masses[0] > 2) == (normalization == "contrastive")
    assert (float(sampler.log_mass) != 0) == (normalization == "contrastive")
    sampler.fit_scale(data(100))
    assert float(sampler.log_mass) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_samplers(kind: str) -> None:
    """Samplers train, give finite densities, and are restored by their state."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    before = [parameter.clone() for parameter in model.sampler.parameters()]
    rows = model.fit(data(200), n_steps=20, batch_size=32)
    assert len(rows) == 20 and set(rows[0]) == {"step", "loss", "demo_logit", "log_partition"}
    assert any(not th.equal(a, b) for a, b in zip(before, model.sampler.parameters(), strict=True))
    if isinstance(model.sampler, ARDAESampler):  # its remaining log-normalizer was measured
        assert float(model.sampler.log_mass) != 0
    x = model.sample(50)
    assert x.shape == (50, 2) and th.isfinite(model.log_prob(x)).all() and not x.requires_grad
    other = EnergyBasedGAN(2, **KINDS[kind], **SMALL)
    other.load_state_dict(model.state_dict())
    th.testing.assert_close(other.log_prob(x), model.log_prob(x))
    th.testing.assert_close(other.sampler.log_prob(x), model.sampler.log_prob(x))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [FlowSampler, ARDAESampler])
def test_samplers_learn_an_energy(sampler: type[FlowSampler] | type[ARDAESampler]) -> None:
    """Both reach N(0, 0.25 I): its mean, its standard deviation, and its log-density as ln q."""
    th.manual_seed(0)
    q = sampler(2, hidden=(32, 32))
    energy = Parabola(0.5)
    optimizer = th.optim.Adam(q.parameters(), lr=5e-3)
    decay = th.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for _ in range(500):
        q.update_density(256)
        optimizer.zero_grad()
        q.loss(energy, 256).backward()
        optimizer.step()
        decay.step()
    x = q.sample(20_000)
    assert x.mean(0).abs().max() < 0.03
    th.testing.assert_close(x.std(0), th.full((2,), 0.5), atol=0.03, rtol=0)
    truth = Independent(Normal(th.zeros(2), 0.5 * th.ones(2)), 1).log_prob(x)
    assert abs(float((truth - q.log_prob(x)).mean())) < 0.05


def test_learning_rates_are_annealed_anew_in_each_training() -> None:
    """Also that of the estimator."""
    th.manual_seed(0)
    model = EnergyBasedGAN(2, **KINDS["implicit"], **SMALL)
    assert isinstance(model.sampler, ARDAESampler)
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
    with pytest.raises(ValueError, match=r"`defensive_weight` must be < 1, got 1\.0"):
        EnergyBasedGAN(2, Fixed(1.0), defensive_weight=1.0)
    with pytest.raises(ValueError, match=r"`defensive_weight` must be >= 0, got -0\.1"):
        EnergyBasedGAN(2, Fixed(1.0), defensive_weight=-0.1)
    with pytest.raises(ValueError, match="`noise_dim` must be >= 2, got 1"):
        EnergyBasedGAN(2, "implicit", sampler_kwargs={"noise_dim": 1})
    with pytest.raises(ValueError, match="`instance_noise` must be >= 0, got -1"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 2), instance_noise=-1)
    with pytest.raises(
        ValueError, match="`partition` must be 'mixture' or 'sampler' for the objective 'cost', got 'learned'"
    ):
        EnergyBasedGAN(2, Fixed(1.0), "learned", "cost")
    with pytest.raises(ValueError, match=r"`data` must have shape \(n, 2\) with n >= 2, got \(5,\)"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5))
    with pytest.raises(ValueError, match=r"`data` must have shape \(n, 2\) with n >= 2, got \(5, 3\)"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 3))
    with pytest.raises(ValueError, match="`data` must be finite, got 2 of 10 values that are not"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.cat([th.zeros(4, 2), th.full((1, 2), math.nan)]))
    with pytest.raises(ValueError, match="`sampler_fraction` must be between 0 and 1, got 2"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 2), sampler_fraction=2)
    with pytest.raises(ValueError, match="`n_steps` must be >= 1, got 0"):
        EnergyBasedGAN(2, Fixed(1.0)).fit(th.zeros(5, 2), n_steps=0)


def test_divergence_is_named() -> None:
    model = EnergyBasedGAN(2, Fixed(1.0))
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="loss is nan after 1 steps: training has diverged"):
        model.fit(data(10), n_steps=1)


def test_bar_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """About a hundred of each."""
    shown: list[int] = []

    @contextmanager
    def recorded(description: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
        assert (description, total, wanted) == ("energy: steps", 201, True)
        yield shown.append

    monkeypatch.setattr(gan, "progress_bar", recorded)
    model = EnergyBasedGAN(2, energy_kwargs={"hidden": (4,)}, **KINDS["flow"])
    rows = model.fit(data(50), n_steps=201, batch_size=10, progress=True)
    assert shown == [row["step"] for row in rows] == [*range(2, 201, 2)]
