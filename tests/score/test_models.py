"""Properties of all score models, in double precision."""

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
# The normalizers that each model supports
OBJECTIVES = {
    "energy": ("contrastive", "dual", "immse", "importance"),
    "energy, point layers": ("contrastive", "dual"),
    "score": ("immse", None),
    "raw energy": ("importance",),
    "raw score": (None,),
}


def make_model(name: str, trained: bool = True) -> ScoreModel:
    """Return a model in double precision; with ``trained``, no parameter is zero."""
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
    embedding = model.encode(context)
    for noise in (sigma, sigma.new_zeros(1, 1, 1)):
        output = evaluate(model, y, noise, embedding)
        assert output.score.shape == (BATCH, N, DIM)
        if name in ENERGIES:
            assert output.log_density is not None and output.log_density.shape == (BATCH, N)
            assert output.noise_level_derivative is not None and output.noise_level_derivative.shape == (BATCH, N)
        else:
            assert output.log_density is None and output.noise_level_derivative is None


@pytest.mark.parametrize("name", ENERGIES)
def test_derivatives_equal_autograd(name: str) -> None:
    """For ψ = -E, the score is ∂ψ/∂y, the noise-level derivative is ∂ψ/∂ ln σ, and ``log_density`` returns ψ."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    embedding = model.encode(context)
    psi = model.log_density(y, sigma, embedding)
    score, slope = th.autograd.grad(psi.sum(), (y, sigma))
    output = evaluate(model, y, sigma, embedding)
    th.testing.assert_close(output.log_density, psi, rtol=1e-10, atol=1e-10)
    th.testing.assert_close(output.score, score, rtol=1e-9, atol=1e-9)
    th.testing.assert_close(output.noise_level_derivative, (slope * sigma).squeeze(-1), rtol=1e-9, atol=1e-9)


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
        # The score does not depend on the constant of its energy
        if (
            parameter_name == "network.output_layer.bias"
            and name in ENERGIES
            and normalization in ("importance", "immse")
        ):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, parameter_name


def test_score_weight_scales_the_matching_loss() -> None:
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
@pytest.mark.parametrize("unit", [1.0, 3.0, th.tensor([1.0, 3.0, 9.0, 0.5]).view(BATCH, 1, 1)])
def test_noise_scales_are_symmetric_and_relative(unit: float | th.Tensor, loss: str) -> None:
    """σ has standard deviation δ in its units and both signs; with the control variate it stays away from zero."""
    model, sigmas = make_model("energy"), []
    model.register_forward_pre_hook(lambda _module, inputs: sigmas.append(inputs[1]))
    z = 7 * th.randn(BATCH, 2000, DIM, dtype=th.float64)
    embedding = model.encode(th.randn(BATCH, CONTEXT_DIM, dtype=th.float64))
    score_terms(model, z, embedding, loss, Importance(), NoiseScale(0.1), unit)
    # With the control variate, the samples without noise follow those with noise
    relative = max(sigmas, key=th.Tensor.numel)[:, :2000] / unit
    assert relative.shape == (BATCH, 2000, 1)
    assert relative.std().item() == pytest.approx(0.1, rel=0.05)
    assert relative.mean().abs() < 0.01
    assert (relative.abs().min() >= 0.0095) == (loss == "cv")


def test_a_fixed_noise_scale_is_the_same_for_all() -> None:
    sigma = NoiseScale(0.1, "fixed").sample(th.randn(BATCH, 20, DIM), unit=3.0)
    th.testing.assert_close(sigma, th.full((BATCH, 20, 1), 0.3))


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_even_in_the_noise_scale(name: str) -> None:
    """p_σ is even in σ, because u and -u are equally likely."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    embedding = model.encode(context)
    for plus, minus in zip(evaluate(model, y, sigma, embedding), evaluate(model, y, -sigma, embedding), strict=True):
        th.testing.assert_close(plus, minus, rtol=1e-12, atol=1e-12) if plus is not None else None


def test_raw_form_depends_on_the_sign_of_the_noise_scale() -> None:
    model = make_model("raw energy")
    y, sigma, context = make_inputs()
    embedding = model.encode(context)
    assert not th.allclose(model(y, sigma, embedding).score, model(y, -sigma, embedding).score)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_starts_as_the_exact_gaussian(name: str) -> None:
    """Before training, the model is N(0, (1 + σ²) I) at every noise scale, normalized."""
    model = make_model(name, trained=False)
    y, sigma, context = make_inputs()
    variance = 1 + sigma.square()
    output = evaluate(model, y, sigma, model.encode(context))
    th.testing.assert_close(output.score, -y / variance)
    if name in ENERGIES:
        gaussian = th.distributions.Normal(0.0, variance.sqrt()).log_prob(y).sum(-1)
        th.testing.assert_close(output.log_density, gaussian)
        slope = (sigma.square() / variance * (y.square() / variance - 1)).sum(-1)
        th.testing.assert_close(output.noise_level_derivative, slope)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_limit_of_large_noise(name: str) -> None:
    """The network's contribution vanishes: an energy becomes the Gaussian's, a score decays as 1/σ."""
    model = make_model(name)
    y, _, context = make_inputs()
    embedding = model.encode(context)
    unit = model(y, th.ones(1, 1, 1, dtype=th.float64), embedding)
    sigma = th.full((1, 1, 1), 1e4, dtype=th.float64)
    output = model(sigma * y, sigma, embedding)
    if name in ENERGIES:
        assert unit.log_density is not None
        assert (unit.log_density - standard_normal_log_density(y / math.sqrt(2))).abs().max() > 0.1
        gaussian = standard_normal_log_density(y) - DIM * math.log(1e4)
        th.testing.assert_close(output.log_density, gaussian, rtol=0, atol=1e-5)
        th.testing.assert_close(sigma * output.score, -y, rtol=0, atol=1e-5)
    else:
        farther = model(10 * sigma * y, 10 * sigma, embedding).score
        assert output.score.abs().max() * 1e4 < 100
        assert farther.abs().max() < 0.2 * output.score.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_finite_without_noise_and_at_the_smallest(name: str) -> None:
    """Scores are finite and continuous at σ = 0."""
    model = make_model(name)
    y, sigma, context = make_inputs()
    embedding = model.encode(context)
    none, tiny = model(y, 0 * sigma, embedding), model(y, 1e-8 * sigma, embedding)
    assert bool(none.score.isfinite().all())
    th.testing.assert_close(none.score, tiny.score, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name: str) -> None:
    model, other = make_model(name), MODELS[name]().double()
    y, sigma, context = make_inputs()
    other.load_state_dict(model.state_dict())
    assert th.equal(model(y, sigma, model.encode(context)).score, other(y, sigma, other.encode(context)).score)
