"""What every score model must fulfil, for all of them at once, in double precision."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch as th

from ardae_rl.common.gaussians import standard_normal_log_density
from ardae_rl.score.models import (
    PreconditionedEnergy,
    PreconditionedScore,
    RawEnergy,
    RawScore,
    ScoreModel,
    ScoreOutput,
)
from ardae_rl.score.networks import ContextEmbedding, ScalarNetwork
from ardae_rl.score.normalizers import NORMALIZERS, Contrastive, Importance, Unnormalized
from ardae_rl.score.objective import NoiseScale, score_terms

DIM, CONTEXT_DIM, BATCH, N = 3, 2, 4, 5
NETWORK: dict[str, Any] = {"hidden": (9, 8), "context_hidden": (7,)}
Factory = Callable[[], ScoreModel]
MODELS: dict[str, Factory] = {
    "energy": lambda: PreconditionedEnergy(DIM, CONTEXT_DIM, NETWORK),
    "energy, point layers": lambda: PreconditionedEnergy(DIM, CONTEXT_DIM, NETWORK | {"point_hidden": (6,)}),
    "score": lambda: PreconditionedScore(DIM, CONTEXT_DIM, NETWORK),
    "raw energy": lambda: RawEnergy(DIM, CONTEXT_DIM, NETWORK, input_scale=3.0),
    "raw score": lambda: RawScore(DIM, CONTEXT_DIM, NETWORK, input_scale=3.0),
}
PRECONDITIONED = ["energy", "energy, point layers", "score"]
ENERGIES = ["energy", "energy, point layers", "raw energy"]
# What each model can be trained with
OBJECTIVES = {
    "energy": ("contrastive", "dual", "immse", "importance"),
    "energy, point layers": ("contrastive", "dual"),
    "score": ("immse", None),
    "raw energy": ("importance",),
    "raw score": (None,),
}


def make_model(name: str, trained: bool = True) -> ScoreModel:
    """In double precision; with ``trained``, no parameter is left at zero."""
    th.manual_seed(0)
    model = MODELS[name]().double()
    if trained:
        for parameter in model.parameters():
            th.nn.init.normal_(parameter, std=0.5)
    return model


def make_inputs() -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    th.manual_seed(1)
    y = th.randn(BATCH, N, DIM, dtype=th.float64, requires_grad=True)
    sigma = th.randn(BATCH, N, 1, dtype=th.float64, requires_grad=True)
    return y, sigma, th.randn(BATCH, CONTEXT_DIM, dtype=th.float64)


def evaluate(model: ScoreModel, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding) -> ScoreOutput:
    """Return everything that the model can compute."""
    output: ScoreOutput = model(y, sigma, embedding, isinstance(model.network, ScalarNetwork))
    return output


@pytest.mark.parametrize("name", MODELS)
def test_shapes(name: str) -> None:
    model = make_model(name)
    y, sigma, context = make_inputs()
    code = model.encode(context)
    for noise in (sigma, sigma.new_zeros(1, 1, 1)):
        energy = evaluate(model, y, noise, code)
        assert energy.score.shape == (BATCH, N, DIM)
        if name in ENERGIES:
            assert energy.log_density is not None and energy.log_density.shape == (BATCH, N)
            assert energy.noise_level_derivative is not None and energy.noise_level_derivative.shape == (BATCH, N)
        else:
            assert energy.log_density is None and energy.noise_level_derivative is None


@pytest.mark.parametrize("name", ENERGIES)
def test_derivatives_equal_autograd(name: str) -> None:
    """The score is ∂ψ/∂y, the noise level ∂ψ/∂ ln σ, and ``log_density`` alone is the same ψ."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    code = model.encode(context)
    psi = model.log_density(y, sigma, code)
    score, slope = th.autograd.grad(psi.sum(), (y, sigma))
    energy = evaluate(model, y, sigma, code)
    th.testing.assert_close(energy.log_density, psi, rtol=1e-10, atol=1e-10)
    th.testing.assert_close(energy.score, score, rtol=1e-9, atol=1e-9)
    th.testing.assert_close(energy.noise_level_derivative, (slope * sigma).squeeze(-1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "normalization"), [(name, o) for name in MODELS for o in OBJECTIVES[name]])
@pytest.mark.parametrize("loss", ["cv", "ardae"])
def test_every_parameter_gets_a_gradient(name: str, normalization: str | None, loss: str) -> None:
    model = make_model(name)
    z, _, context = make_inputs()
    normalizer = NORMALIZERS[normalization]() if normalization else Unnormalized()
    terms = score_terms(model, z.detach(), model.encode(context), loss, normalizer, NoiseScale(0.1), 1.0)
    assert all(term.shape == () and bool(term.isfinite()) for term in terms.values())
    th.stack(list(terms.values())).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        # A score alone says nothing about the constant of its energy
        if (
            parameter_name == "network.output_layer.bias"
            and name in ENERGIES
            and normalization in ("importance", "immse")
        ):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, parameter_name


def test_score_weight_is_that_beside_a_normalizing_loss() -> None:
    model = make_model("energy")
    z, _, context = make_inputs()
    results = []
    for weight in (0.1, 0.3):
        th.manual_seed(0)
        normalizer = Contrastive(score_weight=weight)
        results.append(score_terms(model, z, model.encode(context), "cv", normalizer, NoiseScale(0.1), 1.0))
    th.manual_seed(0)
    alone = score_terms(model, z, model.encode(context), "cv", Importance(), NoiseScale(0.1), 1.0)
    one, other = results
    th.testing.assert_close(other["matching_loss"], 3 * one["matching_loss"])
    th.testing.assert_close(other["contrastive_loss"], one["contrastive_loss"])
    assert set(alone) == {"matching_loss"}
    th.testing.assert_close(alone["matching_loss"], 10 * one["matching_loss"])


@pytest.mark.parametrize("loss", ["cv", "ardae"])
@pytest.mark.parametrize("unit", [1.0, 3.0, None])
def test_noise_scales_are_symmetric_and_relative(unit: float | None, loss: str) -> None:
    """σ has standard deviation δ in its units and both signs; the control variate keeps off zero."""
    model, sigmas = make_model("energy"), []
    model.register_forward_pre_hook(lambda _module, inputs: sigmas.append(inputs[1]))
    z = 7 * th.randn(BATCH, 2000, DIM, dtype=th.float64)
    code = model.encode(th.randn(BATCH, CONTEXT_DIM, dtype=th.float64))
    score_terms(model, z, code, loss, Importance(), NoiseScale(0.1), unit)
    # The control variate has the samples without noise beside those with it
    relative = max(sigmas, key=th.Tensor.numel)[:, :2000] / (7.0 if unit is None else unit)
    assert relative.shape == (BATCH, 2000, 1)
    assert relative.std().item() == pytest.approx(0.1, rel=0.05)
    assert relative.mean().abs() < 0.01
    assert (relative.abs().min() >= 0.0095) == (loss == "cv")


def test_a_fixed_noise_scale_is_the_same_for_all() -> None:
    sigma = NoiseScale(0.1, "fixed").sample(th.randn(BATCH, 20, DIM), unit=3.0)
    th.testing.assert_close(sigma, th.full((BATCH, 20, 1), 0.3))


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_even_in_the_noise_scale(name: str) -> None:
    """As p_σ is, because u and -u are equally likely."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    code = model.encode(context)
    for plus, minus in zip(evaluate(model, y, sigma, code), evaluate(model, y, -sigma, code), strict=True):
        th.testing.assert_close(plus, minus, rtol=1e-12, atol=1e-12) if plus is not None else None


def test_raw_form_sees_the_sign_of_the_noise_scale() -> None:
    model = make_model("raw energy")
    y, sigma, context = make_inputs()
    code = model.encode(context)
    assert not th.allclose(model(y, sigma, code).score, model(y, -sigma, code).score)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_starts_as_the_exact_gaussian(name: str) -> None:
    """Before training, N(0, (1 + σ²) I), at every noise scale and normalised."""
    model = make_model(name, trained=False)
    y, sigma, context = make_inputs()
    variance = 1 + sigma.square()
    energy = evaluate(model, y, sigma, model.encode(context))
    th.testing.assert_close(energy.score, -y / variance)
    if name in ENERGIES:
        gaussian = th.distributions.Normal(0.0, variance.sqrt()).log_prob(y).sum(-1)
        th.testing.assert_close(energy.log_density, gaussian)
        slope = (sigma.square() / variance * (y.square() / variance - 1)).sum(-1)
        th.testing.assert_close(energy.noise_level_derivative, slope)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_limit_of_large_noise(name: str) -> None:
    """Whatever the network says, little of it is left: an energy becomes the Gaussian, a field vanishes as 1/σ."""
    model = make_model(name)
    y, _, context = make_inputs()
    code = model.encode(context)
    unit = model(y, th.ones(1, 1, 1, dtype=th.float64), code)
    sigma = th.full((1, 1, 1), 1e4, dtype=th.float64)
    energy = model(sigma * y, sigma, code)
    if name in ENERGIES:
        assert unit.log_density is not None
        assert (unit.log_density - standard_normal_log_density(y / math.sqrt(2))).abs().max() > 0.1
        gaussian = standard_normal_log_density(y) - DIM * math.log(1e4)
        th.testing.assert_close(energy.log_density, gaussian, rtol=0, atol=1e-5)
        th.testing.assert_close(sigma * energy.score, -y, rtol=0, atol=1e-5)
    else:
        farther = model(10 * sigma * y, 10 * sigma, code).score
        assert energy.score.abs().max() * 1e4 < 100
        assert farther.abs().max() < 0.2 * energy.score.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_finite_without_noise_and_at_the_smallest(name: str) -> None:
    """Scores are continuous at σ = 0, where nothing is divided by it."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    code = model.encode(context)
    none, tiny = model(y, 0 * sigma, code), model(y, 1e-8 * sigma, code)
    assert bool(none.score.isfinite().all())
    th.testing.assert_close(none.score, tiny.score, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name: str) -> None:
    model, other = make_model(name), MODELS[name]().double()
    y, sigma, context = make_inputs()
    other.load_state_dict(model.state_dict())
    assert th.equal(model(y, sigma, model.encode(context)).score, other(y, sigma, other.encode(context)).score)
