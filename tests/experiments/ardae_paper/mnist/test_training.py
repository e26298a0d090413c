"""Networks of Table 5, moments of posteriors, schedules, and tiny runs of each method that can be continued."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl.runs.run import History, Run
from ardae_rl.sac_ardae.moments import hermite_rule, one_layer_moments
from experiments.ardae_paper.mnist import dbmnist, sbmnist, table, training
from experiments.ardae_paper.mnist.autoencoder import make_autoencoder
from experiments.ardae_paper.mnist.budgets import BUDGETS, run_settings
from experiments.ardae_paper.mnist.data import IMAGE_FILES, Split
from experiments.ardae_paper.mnist.methods import METHODS, Trainee, make_trainee
from experiments.ardae_paper.mnist.posteriors import HierarchicalPosterior, ImplicitPosterior
from experiments.ardae_paper.mnist.table import columns, difference, draw, seconds_per_update, summary
from experiments.ardae_paper.mnist.training import AveragedModel, Schedule, _stalled, best_record, train
from experiments.figure import Result

NEEDS_GPU = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("architecture", ["mlp", "conv", "resconv"])
@pytest.mark.parametrize("family", ["gaussian", "hierarchical", "implicit"])
def test_shapes_and_sizes(architecture: str, family: str) -> None:
    th.manual_seed(0)
    model, networks = make_autoencoder(architecture, family, latent_dim=4, noise_dim=6)
    x = th.bernoulli(th.full((2, 784), 0.2))
    features = model.features(x)
    assert features.shape == (2, networks.n_features)
    z = model.posterior.sample(features, 3)
    assert z.shape == (2, 3, 4) and model.log_joint(x, z).shape == (2, 3)
    moments = model.posterior.moments(features)
    assert moments.mean.shape == (2, 4) and moments.covariance.shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("architecture", "widths"), [("mlp", [300, 100]), ("conv", [512, 800, 100]), ("resconv", [450, 450, 100])]
)
def test_layers_of_the_auxiliary_variable(architecture: str, widths: list[int]) -> None:
    """q(z0|x) has the layers of Table 5 after the encoder."""
    posterior = make_autoencoder(architecture, "hierarchical")[0].posterior
    assert isinstance(posterior, HierarchicalPosterior)
    layers = [layer for layer in posterior.auxiliary_layers.modules() if isinstance(layer, th.nn.Linear)]
    means = [*layers[:-2], layers[-2]]  # the last two are mean and variance
    assert [layer.in_features for layer in means] + [means[-1].out_features] == widths


def test_log_likelihood_against_torch() -> None:
    th.manual_seed(0)
    model, _ = make_autoencoder("mlp", "gaussian")
    x, z = th.bernoulli(th.full((2, 784), 0.5)), th.randn(2, 3, 32)
    expected = th.distributions.Bernoulli(logits=model.decoder(z)).log_prob(x.unsqueeze(1)).sum(-1)
    th.testing.assert_close(model.log_likelihood(x, z), expected, rtol=1e-4, atol=1e-3)


@th.no_grad()
def test_moments_of_posteriors() -> None:
    """Against samples; the implicit posterior's also against the expansion to higher order."""
    th.manual_seed(0)
    features = th.randn(2, 10)
    implicit, hierarchical = ImplicitPosterior(10, 3, 20, 64, output_noise=0.3), HierarchicalPosterior(10, 3, 20, 64)
    for posterior in (implicit, hierarchical):
        z, moments = posterior.sample(features, 100_000), posterior.moments(features)
        th.testing.assert_close(moments.mean, z.mean(1), atol=0.02, rtol=0.02)
        for row, covariance in zip(z, moments.covariance, strict=True):
            assert (row.T.cov() - covariance).norm() < 0.1 * covariance.norm()
    layers = implicit.noise_layer.weight, implicit.output_layer.weight, implicit.output_layer.bias
    shift = implicit.feature_layer(features)
    exact = one_layer_moments(shift, th.ones_like(shift), *layers, th.relu, hermite_rule(4, 64))
    mean, covariance = implicit.moments(features)
    th.testing.assert_close(mean, exact.mean, atol=1e-3, rtol=1e-3)
    assert (covariance / 1.09 - exact.covariance).norm() < 0.1 * exact.covariance.norm()


def test_output_noise_is_relative() -> None:
    th.manual_seed(0)
    posterior = ImplicitPosterior(10, 3, 20, 64, output_noise=0.5)
    features = th.randn(1, 10)
    frame = posterior.frame(features)
    z = posterior.generate(features, 50_000)
    noise = frame.to_local(posterior.add_noise(z, frame)) - frame.to_local(z)
    th.testing.assert_close(noise[0].T.cov(), 0.25 * th.eye(3), atol=0.01, rtol=0.03)


def test_schedule_average_and_patience() -> None:
    optimizer = th.optim.SGD([th.nn.Parameter(th.zeros(1))], lr=2.0)
    schedule = Schedule({optimizer: 0.1}, n_updates=100, decay_from=0.5)
    rates = []
    for step in (0, 50, 75, 100):
        schedule.set(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.0, 2.0, 1.1, 0.2])
    model = th.nn.Linear(1, 1, bias=False)
    averages = AveragedModel(model, decay=0.9, start=1)
    for step, value in enumerate((7.0, 2.0, 4.0)):
        th.nn.init.constant_(model.weight, value)
        averages.update(model, step)
    assert averages.average.weight.item() == pytest.approx((7.0 + 2.0 + 4.0) / 3), "a plain mean at first"
    records = History({"log_prob": value} for value in (-3.0, -1.0, -2.0, -1.5))
    assert _stalled(records, 2) and not _stalled(records, 3) and not _stalled(records, 0)


def tiny(method: str) -> tuple[dict[str, Any], Split]:
    settings = run_settings("smoke", "mlp", method, seed=0)
    generator = th.Generator().manual_seed(0)
    images = th.rand(40, 784, generator=generator) * 0.3
    return settings, Split(images, images[:8].round(), th.bernoulli(images[:32], generator=generator))


def train_tiny(method: str, folder: Path, **changes: Any) -> tuple[Trainee, History]:
    """Return a trained trainee with the records of its validations."""
    settings, split = tiny(method)
    th.manual_seed(0)
    trainee = make_trainee("mlp", method, settings["networks"], settings["entropy"])
    return trainee, train(trainee, settings | changes, split, Run(folder))


def test_usual_gradients_are_not_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms, clip = [], th.nn.utils.clip_grad_norm_

    def record(parameters: list[th.nn.Parameter], max_norm: float) -> th.Tensor:
        norms.append(float(clip(parameters, max_norm)) / max_norm)
        return th.tensor(norms[-1])

    monkeypatch.setattr(th.nn.utils, "clip_grad_norm_", record)
    train_tiny("gaussian", tmp_path)
    assert len(norms) == 4 and 0 < max(norms) < 0.5


def test_early_stopping_leaves_a_checkpoint_of_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([-2.0, -1.0, -3.0])
    monkeypatch.setattr(training, "_validate", lambda *_: {"log_prob": next(values)})
    changes = {"n_updates": 20, "patience": 1, "checkpoint_every": 2, "decay_from": 1.0}
    trainee, records = train_tiny("gaussian", tmp_path, **changes)
    assert [record["n_updates"] for record in records] == [2, 4, 6]
    assert best_record(records)["n_updates"] == 4
    assert th.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6
    again, same = train_tiny("gaussian", tmp_path, **changes)  # without a validation: `values` has no more
    assert same == records
    monkeypatch.setattr(training, "_validate", lambda *_: {"log_prob": 0.0})
    best, _ = train_tiny("gaussian", tmp_path / "best", **changes | {"n_updates": 4, "validate_every": 4})
    for other in (again, best):
        assert all(th.equal(*pair) for pair in zip(trainee.model.parameters(), other.model.parameters(), strict=True))


def test_time_of_a_resumed_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that ticks at each update, an update takes one tick, also in an interval with an interruption."""
    stop = RuntimeError("interrupted")
    update = AveragedModel.update
    ticks = [0.0]

    def tick(self: AveragedModel, model: th.nn.Module, step: int) -> None:
        ticks[0] += 1
        if step == 2 and not (tmp_path / "interrupted").exists():
            (tmp_path / "interrupted").touch()
            raise stop
        update(self, model, step)

    monkeypatch.setattr(AveragedModel, "update", tick)
    monkeypatch.setattr(training.time, "process_time", lambda: ticks[0])
    changes = {"n_updates": 8, "validate_every": 4, "checkpoint_every": 2}
    with pytest.raises(RuntimeError, match="interrupted"):
        train_tiny("gaussian", tmp_path, **changes)
    _, records = train_tiny("gaussian", tmp_path, **changes)
    assert [record["timed_updates"] for record in records] == [2, 4]
    assert [record["seconds"] for record in records] == [2, 4] and seconds_per_update(records) == 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_validation_leaves_random_numbers_alone(device: str) -> None:
    settings, split = tiny("gaussian")
    model = make_trainee("mlp", "gaussian", settings["networks"], settings["entropy"]).model.to(device)
    draws = []
    for validates in (False, True):
        th.manual_seed(1)
        if validates:
            training._validate(model, Split(*(images.to(device) for images in split)), settings)
        draws.append(th.cat([th.randn(3), th.randn(3, device=device).cpu()]))
    assert th.equal(*draws)


def test_training_again_with_the_validation_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Selection sees training images only; the second training makes the selected number of updates on both."""
    calls = []

    def record(trainee: Trainee, settings: dict[str, Any], split: Split, run: Run, **kwargs: Any) -> History:
        records = train(trainee, settings, split, run, **kwargs)
        calls.append((settings["n_updates"], len(split.train), kwargs.get("select", True)))
        return records

    values = iter([-1.0, -2.0])
    monkeypatch.setattr(training, "_validate", lambda *_: {"log_prob": next(values)})
    monkeypatch.setattr(table, "train", record)
    (settings,) = sbmnist.runs("smoke", 1, methods=("gaussian",))
    (row,) = sbmnist.FIGURE.run(settings, Run(tmp_path))
    assert calls == [(4, 64, True), (2, 128, False)] and row["best_at"] == 2
    calls.clear()
    values = iter([-1.0, -2.0])
    sbmnist.FIGURE.run(settings | {"with_validation_images": False}, Run(tmp_path / "quick"))
    assert calls == [(4, 64, True)]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name not in ("gaussian", "ivi_ardae")]


@pytest.mark.parametrize("method", ["gaussian", "ivi_ardae", *SLOW])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, method: str) -> None:
    settings, split = tiny(method)
    settings |= {"checkpoint_every": 2}
    ends = []
    for folder, interrupted in ((tmp_path / "whole", False), (tmp_path / "parts", True)):
        if interrupted:
            th.manual_seed(0)
            trainee = make_trainee("mlp", method, settings["networks"], settings["entropy"])
            run = Run(folder)
            train(trainee, settings | {"n_updates": 2, "decay_from": 1.0}, split, run)
        th.manual_seed(0)
        trainee = make_trainee("mlp", method, settings["networks"], settings["entropy"])
        records = train(trainee, settings | {"decay_from": 1.0}, split, Run(folder))
        assert [record["n_updates"] for record in records] == [2, 4]
        ends.append([parameter.detach() for parameter in trainee.model.parameters()])
    assert all(th.equal(one, other) for one, other in zip(*ends, strict=True))


def row_of(seed: int, method: str, log_prob: list[float], folder: Path, kind: str = "exact") -> dict[str, str]:
    """Return a row of the table for given values by image, which are saved as a run does."""
    n = len(log_prob)
    values = {name: th.full((n,), -100.0) for name in ("elbo", "log_prob_paper", "annealed")}
    values |= {name: th.ones(n) for name in ("standard_error", "sample_size_paper", "annealed_error")}
    values |= {"log_prob": th.tensor(log_prob), "sample_size": th.tensor([4.0, 9.5, *[100.0] * (n - 2)])}
    path = folder / f"{method}_{seed}.pt"
    th.save(values, path)
    row: dict[str, Any] = {"architecture": "mlp", "method": method, "seed": seed, "n_updates": 9, "pixels": "seed"}
    row |= {"ms_per_update": 1, "values": path}
    return {name: str(value) for name, value in (row | columns(values, kind)).items()}


def test_difference_is_paired_over_images(tmp_path: Path) -> None:
    """Images that differ by 20 nats do not hide that each is about one nat better."""
    rows = [
        row_of(0, "gaussian", [-80.0, -90.0, -100.0, -110.0], tmp_path),
        row_of(1, "gaussian", [-81.0, -91.0, -101.0, -111.0], tmp_path),
        row_of(0, "ivi_ardae", [-79.0, -89.0, -99.0, -107.0], tmp_path, "estimated"),  # better by 1, 1, 1, 3
        row_of(1, "ivi_ardae", [-81.0, -91.0, -101.0, -109.0], tmp_path, "estimated"),  # better by 0, 0, 0, 2
    ]
    gaussian, implicit = summary(rows)
    assert gaussian["better"] == gaussian["better_error"] == 0
    assert implicit["better"] == pytest.approx(1.0)
    assert implicit["better_error"] == pytest.approx(1.0 / 2), "values 0.5, 0.5, 0.5, 2.5, deviation 1, four images"
    assert implicit["seed_error"] == pytest.approx(0.5), "means 1.5 and 0.5"
    assert implicit["standard_error"] > 5 and implicit["n_seeds"] == 2
    alone = difference(rows[2:3], rows[:1])
    assert alone.better == pytest.approx(1.5) and math.isnan(alone.seed_error)
    assert math.isnan(difference(rows[:1], rows[3:]).better), "no common seed"


def test_sample_sizes_and_kinds_of_bounds(tmp_path: Path) -> None:
    rows = [
        row_of(0, "gaussian", [-80.0, -90.0, -100.0, -110.0], tmp_path),
        row_of(0, "hvi_aux", [-80.0, -90.0, -100.0, -110.0], tmp_path, "auxiliary"),
    ]
    gaussian, auxiliary = summary(rows)
    assert (gaussian["sample_size"], gaussian["smallest_sample_size"], gaussian["share_below_10"]) == (9.5, 4.0, 0.5)
    assert (gaussian["elbo_kind"], gaussian["gap"]) == ("exact", 5.0)
    assert (auxiliary["elbo_kind"], auxiliary["gap"]) == ("auxiliary", "")
    kinds = [make_trainee("mlp", name, *tiny_networks(name)).bound.kind for name in METHODS]
    assert kinds == ["exact", "auxiliary", *["estimated"] * 4]


def tiny_networks(method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    settings, _ = tiny(method)
    return settings["networks"], settings["entropy"]


def test_a_run_saves_values_by_image(tmp_path: Path) -> None:
    settings = dbmnist.runs("smoke", 1, methods=("gaussian",))[0]
    (row,) = dbmnist.FIGURE.run(settings, Run(tmp_path))
    values = th.load(row["values"], weights_only=True)
    assert len(values["annealed"]) == settings["n_annealed"]
    for name in ("log_prob", "standard_error", "sample_size", "log_prob_paper", "elbo"):
        assert values[name].shape == (settings["n_test"],)
    assert row["log_prob"] == pytest.approx(float(values["log_prob"].mean()), abs=1e-4)


@pytest.mark.slow
def test_evaluation_summary_and_drawing(tmp_path: Path) -> None:
    results = []
    for settings in dbmnist.runs("smoke", 1):
        folder = tmp_path / settings["name"]
        rows = dbmnist.FIGURE.run(settings, Run(folder))
        results.append(Result(settings, folder, [{name: str(value) for name, value in row.items()} for row in rows]))
    lines = summary([row for result in results for row in result.rows])
    assert [row["method"] for row in lines] == list(METHODS.values())
    assert lines[0]["better"] == 0
    draw(results, tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 20_000


def test_settings_of_all_budgets(tmp_path: Path) -> None:
    data = str(tmp_path)
    for name in IMAGE_FILES:
        with pytest.raises(FileNotFoundError, match=f"has no file {name}"):
            dbmnist.runs("quick", 1, data=data)
        (tmp_path / f"{name}.gz").touch()
    assert dbmnist.SEEDS["quick"] == sbmnist.SEEDS["quick"] == 2, "differences need more than one"
    for budget in BUDGETS:
        settings = [
            *dbmnist.runs(budget, 2, data=data, architectures=("mlp", "conv", "resconv")),
            *sbmnist.runs(budget, 1, data=data, architecture="resconv"),
        ]
        for each in settings:
            if budget != "paper" or each["architecture"] == "mlp":
                make_trainee(each["architecture"], each["method"], each["networks"], each["entropy"])
    assert len({each["name"] for each in dbmnist.runs("quick", 2, data=data)}) == 2 * len(METHODS)
    assert not sbmnist.runs("quick", 1, data=data)[0]["with_validation_images"]
    paper = sbmnist.runs("paper", 1, data=data)[0]
    assert paper["with_validation_images"]
    assert (paper["polyak_decay"], paper["polyak_start"]) == (0.998, 1000), "Table 6"
    with pytest.raises(ValueError, match=r"`methods` must be one of .* got 'gan'"):
        dbmnist.runs("quick", 1, methods=("gan",))
