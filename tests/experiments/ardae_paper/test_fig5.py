"""The autoencoder of Figure 5: its gradient where the posterior is known, its numbers in closed form, a tiny run."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch as th

from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import read_csv, write_csv
from ardae_rl.score import ARDAE
from experiments.ardae_paper import fig5
from experiments.ardae_paper.fig5 import BUDGETS
from experiments.ardae_paper.vae import GaussianDecoder, ImplicitEncoder, log_joint, update_score, update_vae
from experiments.figure import Result


class LinearEncoder(ImplicitEncoder):
    """z = a x + b ε, whose density is known: the best a and b for a linear decoder are those of the true posterior."""

    def __init__(self) -> None:
        super().__init__(1, 1, noise_dim=1, hidden=1)
        self.a, self.b = th.nn.Parameter(th.tensor(0.2)), th.nn.Parameter(th.tensor(1.5))

    def forward(self, x: th.Tensor, n: int) -> th.Tensor:
        return (self.a * x).unsqueeze(1) + self.b * th.randn(len(x), n, 1)

    def center(self, x: th.Tensor) -> th.Tensor:
        return self.a * x


def linear_decoder(weight: float, deviation: float) -> GaussianDecoder:
    decoder = GaussianDecoder(1, 1, hidden=1, deviation=deviation).requires_grad_(False)
    layer = th.nn.Linear(1, 1)
    th.nn.init.constant_(layer.weight, weight)
    th.nn.init.zeros_(layer.bias)
    decoder.layers = th.nn.Sequential(layer.requires_grad_(False))
    return decoder


def test_the_posterior_of_a_linear_model_is_found() -> None:
    """p(z|x) = N(x w/(w² + s²), s²/(w² + s²)), with the exact score in place of an estimate."""
    th.manual_seed(0)
    encoder, decoder = LinearEncoder(), linear_decoder(weight=1.0, deviation=0.5)
    exact = SimpleNamespace(score=lambda centred, x: -centred / encoder.b.detach().square())
    optimizer = th.optim.Adam(encoder.parameters(), lr=0.03)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 250)
    for _ in range(250):
        x = th.randn(256, 1) * 1.25**0.5
        update_vae(encoder, decoder, cast(ARDAE, exact), optimizer, x)
        schedule.step()
    assert encoder.a.item() == pytest.approx(0.8, abs=0.03)
    assert abs(encoder.b.item()) == pytest.approx(0.2**0.5, abs=0.03)


def test_log_joint_against_the_normal_density() -> None:
    th.manual_seed(0)
    decoder, x, z = linear_decoder(weight=2.0, deviation=0.5), th.randn(5, 1), th.randn(5, 1)
    expected = th.distributions.Normal(2 * z, 0.5).log_prob(x) + th.distributions.Normal(0, 1).log_prob(z)
    th.testing.assert_close(log_joint(decoder, x, z), expected.squeeze(1))


def test_the_centre_is_the_encoder_without_noise() -> None:
    th.manual_seed(0)
    encoder, x = ImplicitEncoder(2, 3, noise_dim=4, hidden=8), th.randn(5, 2)
    assert encoder(x, 7).shape == (5, 7, 3)
    assert (encoder(x, 2)[:, 0] - encoder(x, 2)[:, 1]).abs().min() > 0, "each latent has its own noise"
    th.nn.init.zeros_(encoder.noise_layer.weight)
    th.testing.assert_close(encoder(x, 7), encoder.center(x).unsqueeze(1).expand(5, 7, 3))


def test_updates_reach_the_right_parameters() -> None:
    """The estimator's update does not change the autoencoder, and vice versa."""
    th.manual_seed(0)
    encoder, decoder = ImplicitEncoder(2, 2, noise_dim=3, hidden=8), GaussianDecoder(2, 2, hidden=8, deviation=0.3)
    estimator = ARDAE(2, 2, parameterization="score", network_kwargs={"hidden": (8,), "context_hidden": (8,)})
    autoencoder = th.nn.ModuleList([encoder, decoder])
    optimizer, x = th.optim.Adam(autoencoder.parameters()), th.randn(16, 2)

    def changed(module: th.nn.Module, update: str) -> list[bool]:
        before = [parameter.clone() for parameter in module.parameters() if parameter.requires_grad]
        if update == "score":
            update_score(estimator, encoder, x, 4)
        else:
            update_vae(encoder, decoder, estimator, optimizer, x)
        after = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return [not th.equal(old, new) for old, new in zip(before, after, strict=True)]

    assert any(changed(estimator, "score")) and not any(changed(autoencoder, "score"))
    assert all(changed(autoencoder, "vae")) and not any(changed(estimator, "vae"))


def test_data_have_the_stated_modes() -> None:
    th.manual_seed(0)
    x = fig5.draw_data(100_000)
    distance, mode = fig5.nearest_center(x)
    assert (mode.bincount() / len(x) - 0.04).abs().max() < 0.004
    within = (x - fig5.CENTERS[mode]).var(0)
    assert within.tolist() == pytest.approx([0.1, 0.1], rel=0.02)
    # P(r > 3 standard deviations) = exp(-9/2) in two dimensions, less what comes near to another centre
    assert 0.009 < (distance > 3 * fig5.DEVIATION).float().mean() < 0.0112
    assert fig5.total_variation(x) < 0.06
    moved = x + th.tensor([100.0, 0.0])
    assert fig5.total_variation(moved) == pytest.approx(1, abs=1e-4)


def test_kl_of_the_aggregate_posterior_against_the_closed_form() -> None:
    """KL(N(m, s² I) ‖ N(0, I)) = |m|²/2 + s² - 1 - ln s² in two dimensions; for exact samples it is nearly zero."""
    th.manual_seed(0)
    noise = th.randn(200_000, 2)
    assert 0 <= fig5.aggregate_kl(noise) < 0.006
    mean, scale = th.tensor([0.5, -0.3]), 0.7
    expected = mean.square().sum().item() / 2 + scale**2 - 1 - 2 * math.log(scale)
    assert fig5.aggregate_kl(mean + scale * noise) == pytest.approx(expected, rel=0.03)
    assert fig5.aggregate_kl(noise + 1000) > 5, "what lies outside of the grid counts"


def test_log_variance_and_roughness_of_a_linear_encoder() -> None:
    th.manual_seed(0)
    encoder, x = LinearEncoder(), th.randn(2000, 1)
    # The logarithm of 64 samples' variance is biased by about -1/64
    log_variance = fig5.posterior_log_variance(encoder, x)
    assert log_variance.mean().item() == pytest.approx(2 * math.log(1.5) - 1 / 64, abs=0.02)
    assert log_variance.std().item() == pytest.approx((2 / 63) ** 0.5, rel=0.1), "of the sample variance alone"
    assert fig5.roughness(encoder, x) < 1e-4
    encoder.center = lambda x: x.square()  # type: ignore[method-assign]
    assert fig5.roughness(encoder, x) == pytest.approx(0.2, rel=1e-2), "2 |δ|² / |δ|"


def test_jumps_look_at_the_second_half() -> None:
    assert fig5.jumps([9.0, -9.0, 0.0, 1.0, -1.0, 1.0]) == pytest.approx((1 + 2 + 2) / 3)


def test_methods_differ_in_the_noise_alone() -> None:
    for budget in BUDGETS:
        runs = fig5.runs(budget, 2)
        assert len({settings["name"] for settings in runs}) == len(runs) == 2 * len(fig5.METHODS)
        for settings in runs:
            ARDAE(2, 2, normalization=None, **settings["estimator"])
        large, small, ardae = (settings["estimator"] for settings in runs[:3])
        assert large | {"noise_kwargs": large["noise_kwargs"] | {"scale": small["noise_kwargs"]["scale"]}} == small
        assert large | {"noise_kwargs": {"scale": 0.1}} == ardae


def test_smoke(tmp_path: Path) -> None:
    """A few updates of each method, then the table and the plot."""
    results = []
    for settings in fig5.runs("paper", 1):
        settings |= {"n_updates": 3, "batch_size": 16, "n_latents": 4, "hidden": 8, "n_evaluated": 500}
        folder = tmp_path / settings["name"]
        write_csv(folder / "rows.csv", fig5.run(settings, Run(folder)))
        assert len(read_csv(folder / "log_variance.csv")) == 3
        results.append(Result(settings, folder, read_csv(folder / "rows.csv")))
    again = fig5.run(results[0].settings, Run(results[0].folder))  # from the checkpoint of its last update
    assert {name: str(value) for name, value in again[0].items()} == results[0].rows[0]
    rows = fig5.summary([row for result in results for row in result.rows])
    assert [row["method"] for row in rows] == list(fig5.METHODS)
    assert all(math.isfinite(value) for row in rows for name, value in row.items() if name != "method")
    fig5.draw(results, tmp_path / "fig5.png")
    assert (tmp_path / "fig5.png").stat().st_size > 20_000


def test_summary_takes_the_worst_shares_and_the_mean_of_the_rest() -> None:
    first = {
        "method": "ardae",
        "min_share": "0.02",
        "max_share": "0.06",
        "log_variance": "-3",
        "aggregate_kl": "1",
    }
    second = first | {"min_share": "0.03", "max_share": "0.07", "aggregate_kl": "2"}
    (row,) = fig5.summary([first, second])
    assert (row["min_share"], row["max_share"]) == (0.02, 0.07)
    assert (row["log_variance"], row["aggregate_kl"]) == (-3, 1.5)
