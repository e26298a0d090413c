"""The estimator: shapes, saving, reproducibility, refusals, and accuracy."""

import copy
import math
import re
import warnings
from typing import Any

import pytest
import torch as th

from ardae_rl.common import cpu
from ardae_rl.score import ARDAE, Dual

NETWORK: dict[str, Any] = {"hidden": (16, 16), "context_hidden": (16,)}
SMALL: dict[str, Any] = {"network_kwargs": NETWORK}
FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "unit scale": {"standardize": False},
    "dual": {"normalization": "dual"},
    "own noise": {"loss": "own_noise"},
    "own noise, dual": {"loss": "own_noise", "normalization": "dual", "noise_kwargs": {"scale": 0.5}},
    "frequencies": {"network_kwargs": {"n_frequencies": 4}},
    "importance": {"normalization": "importance", "noise_kwargs": {"n_samples": 2}},
    "immse": {"normalization": "immse"},
    "score alone": {"normalization": None, "loss": "ardae"},
    "score": {"parameterization": "score"},
    "score, immse": {"parameterization": "score", "normalization": "immse"},
    "paper": {
        "preconditioned": False,
        "loss": "ardae",
        "network_kwargs": {"activation": "elu", "context_gain": False},
    },
    "paper, score": {"preconditioned": False, "loss": "ardae", "parameterization": "score"},
    "fixed noise": {"noise_kwargs": {"distribution": "fixed", "scale": 0.5}, "loss": "ardae"},
    "raw, fixed noise": {
        "noise_kwargs": {"distribution": "fixed", "relative": False, "scale": 0.5},
        "preconditioned": False,
        "loss": "ardae",
        "input_scale": 2.0,
    },
}
all_forms = pytest.mark.parametrize("form", FORMS)


def form_of(name: str, **network: Any) -> dict[str, Any]:
    """Return the arguments of a form, with further arguments of its network."""
    return FORMS[name] | {"network_kwargs": network | FORMS[name].get("network_kwargs", {})}


def make(form: str, dim: int = 2, context_dim: int = 0, seed: int = 0) -> ARDAE:
    th.manual_seed(seed)
    return ARDAE(dim, context_dim, **form_of(form, **NETWORK))


def batch(dim: int, context_dim: int, n: int = 8) -> tuple[th.Tensor, ...]:
    """Return arguments of ``update``: samples (n, dim), or samples (5, n, dim) and contexts."""
    return (th.randn(5, n, dim), th.randn(5, context_dim)) if context_dim else (th.randn(n, dim),)


@all_forms
@pytest.mark.parametrize("context_dim", [0, 3])
def test_shapes_and_finite_numbers(form: str, context_dim: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = make(form, context_dim=context_dim)
        for _ in range(3):
            info = estimator.update(*batch(2, context_dim))
    assert {"matching_loss", "loss", "grad_norm"} <= set(info)
    assert all(type(value) is float and math.isfinite(value) for value in info.values())
    terms = [value for name, value in info.items() if name not in ("loss", "grad_norm", "standardizer_loss")]
    assert info["loss"] == pytest.approx(sum(terms) + info.get("standardizer_loss", 0), rel=1e-4)

    queries = [batch(2, context_dim)]
    if context_dim:  # one point for each context
        queries.append((th.randn(5, 2), th.randn(5, context_dim)))
    for query in queries:
        score = estimator.score(*query)
        assert score.shape == query[0].shape and bool(score.isfinite().all()) and not score.requires_grad
        if not estimator.has_density:
            continue
        log_prob = estimator.log_prob(*query)
        assert log_prob.shape == query[0].shape[:-1] and bool(log_prob.isfinite().all())
        both = estimator.score_and_log_prob(*query)
        th.testing.assert_close(both[0], score)
        assert both[1].shape == log_prob.shape
    if estimator.has_density:
        assert estimator.entropy(*queries[0]).shape == ((5,) if context_dim else ())
    if estimator.parameterization == "energy":
        log_z, effective_size = estimator.log_partition_estimate(*queries[0][1:])
        assert log_z.shape == effective_size.shape == ((5,) if context_dim else (1,))


@pytest.mark.parametrize("form", ["fixed noise", "raw, fixed noise"])
def test_scores_of_a_fixed_noise_scale(form: str) -> None:
    """By default, the score is that at the noise scale of training."""
    estimator = make(form, dim=1)
    for group in estimator.optimizer.param_groups:
        group["lr"] = 3e-3
    for _ in range(600):
        estimator.update(th.randn(512, 1))
    x = th.linspace(-1.2, 1.2, 9).unsqueeze(1)
    score = estimator.score(x)
    th.testing.assert_close(score, estimator.score(x, noise_scale=0.5))
    # Of N(0, 1 + 0.5²): -0.8 x, against -x without noise
    th.testing.assert_close(score, -0.8 * x, rtol=0, atol=0.1)


def test_density_and_score_of_own_noise() -> None:
    """Two modes plus noise of half of their scale: log-density and score in closed form, normalized."""
    th.manual_seed(0)
    estimator = ARDAE(1, loss="own_noise", noise_kwargs={"scale": 0.5}, standardize=False, learning_rate=3e-3)
    spread, distance = 0.6, 0.8  # variance one
    for update in range(800):
        if update == 600:
            estimator.optimizer.param_groups[0]["lr"] = 3e-4
        estimator.update(distance * (2 * th.randint(2, (512, 1)) - 1) + spread * th.randn(512, 1))
    x = th.linspace(-1.8, 1.8, 13).unsqueeze(1)
    components = th.distributions.Normal(th.tensor([-distance, distance]), math.sqrt(spread**2 + 0.25))
    exact = components.log_prob(x).logsumexp(1) - math.log(2)
    th.testing.assert_close(estimator.log_prob(x), exact, rtol=0, atol=0.06)
    x.requires_grad_()
    (slope,) = th.autograd.grad((components.log_prob(x).logsumexp(1)).sum(), x)
    th.testing.assert_close(estimator.score(x.detach()), slope, rtol=0, atol=0.15)


def test_scores_at_a_noise_scale() -> None:
    estimator = make("default", dim=1)
    for _ in range(300):
        estimator.update(3 * th.randn(256, 1))
    x = th.linspace(-3, 3, 9).unsqueeze(1)
    # In units of the samples' scale: N(0, 9 (1 + 0.2²))
    th.testing.assert_close(estimator.score(x, noise_scale=0.2), -x / 9.36, rtol=0, atol=0.04)
    assert not th.equal(estimator.score(x, noise_scale=0.2), estimator.score(x))


@pytest.mark.parametrize("form", ["default", "score", "paper"])
def test_single_points_have_the_score_they_have_in_a_batch(form: str) -> None:
    estimator = make(form, context_dim=3)
    for _ in range(3):
        estimator.update(*batch(2, 3))
    x, context = batch(2, 3)
    th.testing.assert_close(estimator.score(x[:, 4], context), estimator.score(x, context)[:, 4])


@pytest.mark.parametrize("form", ["default", "dual", "paper"])
def test_score_is_the_gradient_of_log_prob(form: str) -> None:
    """Finite differences in double precision, because log_prob carries no gradient."""
    estimator = make(form, context_dim=3).double()
    for _ in range(20):
        estimator.update(*(tensor.double() for tensor in batch(2, 3)))
    x, context = (tensor.double() for tensor in batch(2, 3))
    step = 1e-6 * th.tensor([0.6, -0.8], dtype=th.float64)
    th.manual_seed(1)  # the same draws, if the normalization needs any
    above = estimator.log_prob(x + step, context)
    th.manual_seed(1)
    slope = (above - estimator.log_prob(x - step, context)) / 2e-6
    direction = th.tensor([0.6, -0.8], dtype=th.float64)
    th.testing.assert_close(slope, estimator.score(x, context) @ direction, rtol=1e-5, atol=1e-6)


@all_forms
def test_saved_and_continued(form: str) -> None:
    """With both state dicts, training continues as if it had not been interrupted."""
    estimator = make(form, context_dim=3)
    for _ in range(3):
        estimator.update(*batch(2, 3))
    saved = copy.deepcopy((estimator.state_dict(), estimator.optimizer.state_dict()))
    other = make(form, context_dim=3, seed=1)
    other.load_state_dict(saved[0])
    other.optimizer.load_state_dict(saved[1])
    x, context = batch(2, 3)
    assert th.equal(estimator.score(x, context), other.score(x, context))
    histories = []
    for continued in (estimator, other):
        th.manual_seed(2)
        histories.append([continued.update(*batch(2, 3)) for _ in range(4)])
    assert histories[0] == histories[1]


@all_forms
def test_state_dict_holds_only_floats(form: str) -> None:
    """Stable-Baselines3 averages whole state dicts."""
    state = make(form, context_dim=3).state_dict()
    assert state and all(tensor.is_floating_point() for tensor in state.values())


@all_forms
def test_a_seed_reproduces(form: str) -> None:
    histories = []
    for seed in (0, 0, 1):
        estimator = make(form, context_dim=3, seed=seed)
        histories.append([estimator.update(*batch(2, 3)) for _ in range(3)])
    assert histories[0] == histories[1] != histories[2]


def test_precision_follows_the_module() -> None:
    estimator = make("default", context_dim=3).double().float()
    estimator.update(*batch(2, 3))
    assert estimator.score(*batch(2, 3)).dtype == th.float32


def test_training_leaves_the_callers_graph_alone() -> None:
    """Samples and contexts get no gradient from the estimator's step."""
    estimator = make("default", context_dim=3)
    samples, context = (tensor.requires_grad_() for tensor in batch(2, 3))
    estimator.update(samples, context)
    assert samples.grad is None and context.grad is None


@pytest.mark.parametrize("n_noise_samples", [1, 3])
def test_each_sample_gets_several_noise_vectors(n_noise_samples: int) -> None:
    estimator = ARDAE(2, 3, loss="ardae", normalization=None, noise_kwargs={"n_samples": n_noise_samples}, **SMALL)
    points: list[th.Tensor] = []
    estimator.model.network.joining_layer.register_forward_hook(
        lambda _module, inputs, _output: points.append(inputs[0])
    )
    estimator.update(*batch(2, 3))
    (noised,) = points
    assert noised.shape == (5, 8 * n_noise_samples, 2)
    assert len(noised.flatten(0, 1).unique(dim=0)) == 5 * 8 * n_noise_samples, "all draws differ"


@pytest.mark.parametrize(("preconditioned", "deviation"), [(True, 1.5), (False, 1.5 * 100)])
def test_proposal_scale_is_in_units_of_x_without_preconditioning(preconditioned: bool, deviation: float) -> None:
    """Without preconditioning, the network's coordinates are ``input_scale`` times those of the samples."""
    estimator = ARDAE(
        2,
        preconditioned=preconditioned,
        normalization="importance",
        normalization_kwargs={"proposal_scale": 1.5, "n_samples": 500},
        input_scale=100,
        averaging=1,
    )
    points: list[th.Tensor] = []
    estimator.model.network.joining_layer.register_forward_hook(
        lambda _module, inputs, _output: points.append(inputs[0])
    )
    estimator.log_partition_estimate()
    (proposed,) = points
    assert proposed.shape == (1, 500, 2)
    assert proposed.std().item() == pytest.approx(deviation, rel=0.1)
    estimator.log_partition_estimate(n_draws=7)
    assert points[-1].shape == (1, 7, 2)
    with pytest.raises(ValueError, match="`n_draws` must be >= 1, got 0"):
        estimator.log_partition_estimate(n_draws=0)
    with pytest.raises(ValueError, match=r"`proposal_scale` must be positive, got 0\.0"):
        estimator.log_partition_estimate(proposal_scale=0.0)


@pytest.mark.parametrize("context_dim", [0, 3])
@pytest.mark.parametrize("form", ["default", "paper"])
def test_chunks_of_a_batch_give_the_same_update(form: str, context_dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If each row has the same noise, an update in chunks of 16 rows gives the weights of an update in one piece."""
    noise: Any = lambda x: (37 * x.sum(-1, keepdim=True) + th.arange(x.shape[-1])).sin()  # noqa: E731
    monkeypatch.setattr("ardae_rl.score.objective.normal_like", noise)
    samples = batch(2, context_dim, n=8 if context_dim else 64)
    results = []
    for rows in (1_000, 16):
        estimator = make(form, context_dim=context_dim).double()
        monkeypatch.setattr(cpu, "ROWS_IN_CACHE", rows)
        info = estimator.update(*(tensor.double() for tensor in samples))
        results.append([th.tensor(list(info.values())), *estimator.parameters()])
    for whole, parts in zip(*results, strict=True):
        th.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("n", [1025, 2049])
def test_a_last_part_of_one_sample(n: int) -> None:
    """Without a context, 1024 samples are one part. The last sample alone has no standard deviation."""
    th.manual_seed(0)
    estimator = ARDAE.paper(2, **SMALL)
    info = estimator.update(th.randn(n, 2))
    assert all(math.isfinite(value) for value in info.values())
    assert all(bool(weight.isfinite().all()) for weight in estimator.parameters())


@pytest.mark.parametrize("context_dim", [0, 3])
def test_the_unit_of_noise_is_the_deviation_of_the_samples(context_dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample counts once, however many noise vectors it has, and whichever part it is in."""
    monkeypatch.setattr("ardae_rl.score.objective.normal_like", th.ones_like)
    estimator = ARDAE.paper(2, context_dim, input_scale=1.0, noise_kwargs={"n_samples": 3, "scale": 0.5}, **SMALL)
    sigmas: list[th.Tensor] = []
    estimator.model.register_forward_pre_hook(lambda _module, inputs: sigmas.append(inputs[1]))
    samples = batch(2, context_dim)
    monkeypatch.setattr(cpu, "ROWS_IN_CACHE", 48 if context_dim else 5)  # two contexts, or five of 24 rows
    estimator.update(*samples)
    parts = [sigma.mean(dim=(1, 2)) for sigma in sigmas]
    if context_dim:
        assert [len(part) for part in parts] == [2, 2, 1]
        th.testing.assert_close(th.cat(parts), 0.5 * samples[0].std(dim=1).mean(-1))
    else:
        assert len(parts) == 5
        th.testing.assert_close(th.cat(parts), (0.5 * samples[0].std(dim=0).mean()).expand(5))


def test_queries_use_averaged_weights() -> None:
    """The average starts at the first weights; the share of new weights then falls from 10/11 to 1 / ``averaging``."""
    th.manual_seed(0)
    estimator = ARDAE(2, 3, **SMALL, averaging=4)
    assert estimator.slow_model is not None
    expected = [th.zeros_like(weight) for weight in estimator.model.parameters()]
    for update in range(8):
        estimator.update(*batch(2, 3))
        share = 1.0 if update == 0 else max(10 / (update + 10), 1 / 4)
        for average, newest in zip(expected, estimator.model.parameters(), strict=True):
            average.lerp_(newest.detach(), share)
    for average, slow in zip(expected, estimator.slow_model.parameters(), strict=True):
        th.testing.assert_close(average, slow)
    x, context = batch(2, 3)
    before = estimator.score_and_log_prob(x, context)
    with th.no_grad():
        for weight in estimator.model.parameters():
            weight.normal_()
    after = estimator.score_and_log_prob(x, context)
    assert all(th.equal(*pair) for pair in zip(before, after, strict=True)), "the newest weights are not used"


def test_without_averaging_queries_use_the_newest_weights() -> None:
    estimator = ARDAE(2, **SMALL, averaging=1)
    names = set(estimator.state_dict())
    assert estimator.slow_model is None and not any("slow_model" in name for name in names)
    x = th.randn(8, 2)
    before = estimator.score(x)
    with th.no_grad():
        for weight in estimator.model.parameters():
            weight.normal_()
    assert not th.allclose(before, estimator.score(x))


def test_without_standardization_contexts_are_normalized_and_samples_are_not() -> None:
    """Contexts may have any scale and offset; a new estimator is standard normal in the samples' coordinates."""
    th.manual_seed(0)
    raw, moved = (make("unit scale", context_dim=3) for _ in range(2))
    x = th.randn(5, 8, 2)
    th.testing.assert_close(raw.score(x, th.randn(5, 3)), -x)
    for _ in range(20):
        samples, context = batch(2, 3)
        for estimator, scaled_context in ((raw, context), (moved, 100 * context + 1000)):
            th.manual_seed(1)
            estimator.update(samples, scaled_context)
    context = th.randn(5, 3)
    th.testing.assert_close(raw.score(x, context), moved.score(x, 100 * context + 1000), rtol=1e-2, atol=1e-3)


def test_scale_equivariance() -> None:
    """Samples that are eight times as large give an eighth of the score, and the log-density less the log-Jacobian."""
    results = []
    for factor in (1.0, 8.0):
        estimator = make("default", context_dim=3)
        for _ in range(100):
            x, context = batch(2, 3)
            estimator.update(factor * (x + context[:, None, :2]), context)
        x, context = batch(2, 3)
        score, log_prob = estimator.score_and_log_prob(factor * x, context)
        results.append((score * factor, log_prob + 2 * math.log(factor)))
    for one, other in zip(*results, strict=True):
        th.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "`dim` must be >= 1, got 0"),
        ({"context_dim": -1}, "`context_dim` must be >= 0, got -1"),
        ({"parameterization": "scalar"}, "`parameterization` must be one of 'energy', 'score', got 'scalar'"),
        ({"loss": "mse"}, "`loss` must be one of 'cv', 'own_noise', 'ardae', got 'mse'"),
        (
            {"network_kwargs": {"activation": "relu"}},
            "`activation` must be one of 'silu', 'softplus', 'elu', got 'relu'",
        ),
        ({"network_kwargs": {"hidden": ()}}, r"`hidden` must have at least one width, got \(\)"),
        ({"network_kwargs": {"width": 3}}, "`network_kwargs` must only have the keys 'hidden', .*, got 'width'"),
        ({"noise_kwargs": {"sigma": 3}}, "`noise_kwargs` must only have the keys 'scale', .*, got 'sigma'"),
        ({"normalization_kwargs": {"n_samples": 3}}, "must only have the keys 'score_weight', got 'n_samples'"),
        (
            {"normalization": "exact"},
            "`normalization` must be one of 'auto', 'contrastive', 'dual', 'importance', 'immse', got 'exact'",
        ),
        (
            {"parameterization": "score", "normalization": "dual"},
            "`normalization` with parameterization='score' and preconditioned=True must be one of 'immse', None, got",
        ),
        ({"parameterization": "score", "normalization": "contrastive"}, "one of 'immse', None, got 'contrastive'"),
        ({"parameterization": "score", "normalization": "importance"}, "one of 'immse', None, got 'importance'"),
        ({"parameterization": "score", "normalization": Dual()}, "one of 'immse', None, got 'dual'"),
        ({"preconditioned": False, "normalization": "dual"}, "preconditioned=False must be one of 'importance', None"),
        (
            {"preconditioned": False, "parameterization": "score", "normalization": "immse"},
            "must be one of None, got 'immse'",
        ),
        ({"noise_kwargs": {"scale": 0.0}}, "`scale` must be positive, got 0.0"),
        ({"noise_kwargs": {"scale": math.nan}}, "`scale` must be a number, got nan"),
        ({"noise_kwargs": {"n_samples": 0}}, "`n_samples` must be >= 1, got 0"),
        ({"noise_kwargs": {"n_samples": 1.5}}, r"`n_samples` must be an integer, got 1\.5"),
        ({"averaging": 2.5}, r"`averaging` must be an integer, got 2\.5"),
        ({"normalization": "immse", "normalization_kwargs": {"n_levels": 1}}, "`n_levels` must be >= 2, got 1"),
        (
            {"noise_kwargs": {"distribution": "uniform"}},
            "`distribution` must be one of 'normal', 'fixed', got 'uniform'",
        ),
        (
            {"loss": "own_noise", "preconditioned": False},
            "`preconditioned` must be True with loss='own_noise', got False",
        ),
        (
            {"loss": "own_noise", "noise_kwargs": {"distribution": "normal"}},
            "`distribution` must be 'fixed' with loss='own_noise', got 'normal'",
        ),
        (
            {"noise_kwargs": {"distribution": "fixed"}, "normalization": "immse"},
            "`distribution` must be 'normal' with normalization='immse', got 'fixed'",
        ),
        ({"noise_kwargs": {"relative": False}}, r"`noise_kwargs\['relative'\]` must be True with preconditioned=True"),
        (
            {"noise_kwargs": {"distribution": "fixed"}, "preconditioned": False},
            r"`noise_kwargs\['relative'\]` must be False with distribution='fixed' and preconditioned=False",
        ),
        ({"learning_rate": -1e-3}, "`learning_rate` must be positive, got -0.001"),
        ({"learning_rate": math.inf}, "`learning_rate` must be finite, got inf"),
        ({"input_scale": math.inf}, "`input_scale` must be finite, got inf"),
        ({"noise_kwargs": {"scale": math.inf}}, "`scale` must be finite, got inf"),
        ({"network_kwargs": {"frequency": math.inf}}, "`frequency` must be finite, got inf"),
        ({"normalization_kwargs": {"score_weight": math.inf}}, "`score_weight` must be finite, got inf"),
        ({"network_kwargs": {"hidden": (0,)}}, "`hidden` must be >= 1, got 0"),
        ({"network_kwargs": {"hidden": (-3,)}}, "`hidden` must be >= 1, got -3"),
        ({"network_kwargs": {"hidden": 64}}, "`hidden` must be a sequence of widths, got 64"),
        ({"network_kwargs": {"context_hidden": [8, 0]}}, "`context_hidden` must be >= 1, got 0"),
        ({"network_kwargs": {"point_hidden": [2.5]}}, r"`point_hidden` must be an integer, got 2\.5"),
        ({"network_kwargs": {"context_gain": "no"}}, "`context_gain` must be True or False, got 'no'"),
        ({"standardize": "no"}, "`standardize` must be True or False, got 'no'"),
        ({"preconditioned": "no"}, "`preconditioned` must be True or False, got 'no'"),
        ({"noise_kwargs": {"relative": "no"}}, "`relative` must be True or False, got 'no'"),
        *(
            ({"normalization": value}, f"`normalization` must be a name, a Normalizer object or None, got {shown}")
            for value, shown in ((Dual, "<class"), (False, "False"), (0, "0"), (123, "123"), (["dual"], r"\['dual'\]"))
        ),
        ({"averaging": 0}, "`averaging` must be >= 1, got 0"),
        (
            {"normalization": "importance", "normalization_kwargs": {"n_samples": 0}},
            "`n_samples` must be >= 1, got 0",
        ),
        (
            {"normalization": "importance", "normalization_kwargs": {"proposal_scale": 0}},
            "`proposal_scale` must be positive, got 0",
        ),
        ({"normalization": "immse", "normalization_kwargs": {"n_levels": 1}}, "`n_levels` must be >= 2, got 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as error:
        ARDAE(**({"dim": 2} | arguments))
    assert "\n" not in str(error.value)


ONES, CONTEXT = th.ones(5, 8, 2), th.zeros(5, 3)
NAN, INFINITE = ONES.clone(), CONTEXT.clone()
NAN[0, 0, 0], INFINITE[1, 1] = math.nan, math.inf


@pytest.mark.parametrize(
    ("context_dim", "tensors", "message"),
    [
        (0, (th.ones(8, 3),), "`samples` must have shape (n, 2) with n >= 2, got (8, 3)"),
        (0, (th.ones(8),), "`samples` must have shape (n, 2) with n >= 2, got (8,)"),
        (0, (th.ones(1, 2),), "with n >= 2, got (1, 2)"),
        (0, (ONES,), "`samples` must have shape (n, 2) with n >= 2, got (5, 8, 2)"),
        (0, (ONES, CONTEXT), "`context` must be None with context_dim=0, got a tensor of shape (5, 3)"),
        (3, (ONES,), "`context` must have shape (batch, 3), got None"),
        (3, (th.ones(5, 2), CONTEXT), "`samples` must have shape (batch, n, 2) with batch >= 1 and n >= 2, got (5, 2)"),
        (3, (ONES[:, :1], CONTEXT), "and n >= 2, got (5, 1, 2)"),
        (3, (ONES[:0], CONTEXT[:0]), "with batch >= 1 and n >= 2, got (0, 8, 2)"),
        (3, (ONES, CONTEXT[:4]), "`context` must have 5 rows, one for each batch of points, got 4"),
        (3, (ONES, CONTEXT[:, :2]), "`context` must have shape (batch, 3), got (5, 2)"),
        (3, (NAN, CONTEXT), "`samples` must be finite, got 1 of 80 values that are not"),
        (3, (ONES, INFINITE), "`context` must be finite, got 1 of 15 values that are not"),
    ],
)
def test_bad_samples(context_dim: int, tensors: tuple[th.Tensor, ...], message: str) -> None:
    estimator = make("default", context_dim=context_dim)
    before = copy.deepcopy(estimator.state_dict())
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        estimator.update(*tensors)
    assert "\n" not in str(error.value)
    assert all(th.equal(before[name], tensor) for name, tensor in estimator.state_dict().items()), "unchanged"


@pytest.mark.parametrize(
    ("context_dim", "tensors", "message"),
    [
        (0, (th.ones(2),), "`x` must have shape (n, 2), got (2,)"),
        (0, (th.ones(4, 3),), "`x` must have shape (n, 2), got (4, 3)"),
        (3, (th.ones(4, 2),), "`context` must have shape (batch, 3), got None"),
        (
            3,
            (th.ones(5, 8, 3), CONTEXT),
            "`x` must have shape (batch, n, 2) or (batch, 2), got (5, 8, 3)",
        ),
        (3, (th.ones(4, 2), CONTEXT), "`context` must have 4 rows, one for each batch of points, got 5"),
    ],
)
def test_bad_queries(context_dim: int, tensors: tuple[th.Tensor, ...], message: str) -> None:
    estimator = make("default", context_dim=context_dim)
    for query in (estimator.score, estimator.log_prob, estimator.score_and_log_prob):
        with pytest.raises(ValueError, match=re.escape(message)):
            query(*tensors)


@pytest.mark.parametrize(
    ("context_dim", "tensors", "message"),
    [
        (0, (th.ones(4, 3),), "`samples` must have shape (n, 2), got (4, 3)"),
        (3, (th.ones(5, 2), CONTEXT), "`samples` must have shape (batch, n, 2), got (5, 2)"),
        (3, (th.ones(5, 2),), "`context` must have shape (batch, 3), got None"),
        (3, (ONES[:4], CONTEXT), "`context` must have 4 rows, one for each batch of points, got 5"),
    ],
)
def test_bad_samples_of_an_entropy(context_dim: int, tensors: tuple[th.Tensor, ...], message: str) -> None:
    """An entropy is a mean over the samples of a context; a single one for each has none."""
    with pytest.raises(ValueError, match=re.escape(message)):
        make("default", context_dim=context_dim).entropy(*tensors)


@pytest.mark.parametrize(
    ("noise_scale", "message"),
    [
        (-0.1, "`noise_scale` must be >= 0, got -0.1"),
        (math.nan, "`noise_scale` must be a number, got nan"),
        (math.inf, "`noise_scale` must be finite, got inf"),
    ],
)
def test_bad_noise_scales(noise_scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make("default").score(th.ones(4, 2), noise_scale=noise_scale)


def test_estimators_without_a_density_refuse_to_give_one() -> None:
    message = "`normalization` must be one of 'contrastive', 'dual', 'importance', 'immse' to give a density, got None"
    with pytest.raises(ValueError, match=message):
        make("score alone").log_prob(th.ones(4, 2))
    for form in ("score", "paper, score"):
        with pytest.raises(ValueError, match="`parameterization` must be 'energy' to have an ln Z, got 'score'"):
            make(form).log_partition_estimate()


WEIGHTS, CENTERS, DEVIATION = th.tensor([1 / 3, 2 / 3]), th.tensor([[1.5, 0.0], [-1.5, 0.0]]), 0.5


def mixture_samples(n: int) -> th.Tensor:
    return CENTERS[th.multinomial(WEIGHTS, n, replacement=True)] + DEVIATION * th.randn(n, 2)


def mixture_log_prob(x: th.Tensor) -> th.Tensor:
    squared = (x.unsqueeze(-2) - CENTERS).square().sum(-1) / DEVIATION**2
    return (WEIGHTS.log() - 0.5 * squared).logsumexp(-1) - math.log(2 * math.pi * DEVIATION**2)


# Largest relative squared score error, and mean |error| of ln p
@pytest.mark.parametrize(
    ("form", "largest_score_error", "largest_error"),
    [("default", 0.1, 0.25), ("dual", 0.12, 0.45), ("importance", 0.1, 0.45), ("score, immse", 0.2, 0.45)],
)
def test_learns_a_mixture_without_context(form: str, largest_score_error: float, largest_error: float) -> None:
    """Two modes of unequal weight, 6 standard deviations apart."""
    th.manual_seed(0)
    estimator = ARDAE(2, **form_of(form, hidden=(64, 64)))
    for update in range(500):
        if update == 400:  # the normalization jitters in proportion to the learning rate
            estimator.optimizer.param_groups[0]["lr"] = 1e-4
        estimator.update(mixture_samples(256))
    x = mixture_samples(2000).requires_grad_()
    log_prob = mixture_log_prob(x)
    (score,) = th.autograd.grad(log_prob.sum(), x)
    x, log_prob = x.detach(), log_prob.detach()
    assert (estimator.score(x) - score).square().sum() / score.square().sum() < largest_score_error
    assert (estimator.log_prob(x) - log_prob).abs().mean() < largest_error
    if form == "default":  # normalized: by its integral over a box, and by importance sampling
        axis = th.linspace(-5, 5, 101)
        box = th.cartesian_prod(axis, axis)
        assert estimator.log_prob(box).exp().sum().item() * 0.1**2 == pytest.approx(1, abs=0.15)
        assert estimator.log_partition_estimate()[0].abs().item() < 0.3


def test_learns_a_shape_that_rotates_with_the_context() -> None:
    """A narrow Gaussian whose long axis has the direction of the context."""
    th.manual_seed(0)
    estimator = ARDAE(2, 2, network_kwargs={"hidden": (64, 64), "context_hidden": (64,)})

    def draw(n_contexts: int) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        context = th.nn.functional.normalize(th.randn(n_contexts, 2), dim=-1)
        axes = th.stack([context, context.flip(-1) * th.tensor([-1.0, 1.0])], dim=1) * th.tensor([[1.0], [0.3]])
        covariance = axes.transpose(1, 2) @ axes
        x = th.randn(n_contexts, 16, 2) @ axes
        return x, context, -x @ th.linalg.inv(covariance)

    for _ in range(500):
        x, context, _ = draw(32)
        estimator.update(x, context)
    x, context, score = draw(500)
    assert (estimator.score(x, context) - score).square().sum() / score.square().sum() < 0.15
    assert estimator.entropy(x, context).mean().item() == pytest.approx(1 + math.log(2 * math.pi * 0.3), abs=0.15)


def test_entropy_of_a_gaussian() -> None:
    """Entropy and score, with standard deviations that differ by a factor of 100."""
    th.manual_seed(0)
    deviation, mean = th.tensor([0.02, 2.0]), th.tensor([1.0, -30.0])
    estimator = make("default")
    for _ in range(400):
        estimator.update(mean + deviation * th.randn(256, 2))
    x = mean + deviation * th.randn(4000, 2)
    truth = 1 + math.log(2 * math.pi) + deviation.log().sum().item()
    assert estimator.entropy(x).item() == pytest.approx(truth, abs=0.1)
    score = (mean - x) / deviation.square()
    relative = (estimator.score(x) - score).square().sum(0) / score.square().sum(0)
    assert relative.max() < 0.05


def test_gradients_of_the_standardizer_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a norm of 1, also where its loss is steep."""
    th.manual_seed(0)
    estimator = ARDAE(2, 3)
    standardizer: Any = estimator.standardizer
    loss = standardizer.loss
    monkeypatch.setattr(standardizer, "loss", lambda *arguments: 1e6 * loss(*arguments))
    estimator.update(th.randn(8, 4, 2), th.randn(8, 3))
    gradients = [parameter.grad.flatten() for parameter in standardizer.trainable_parameters()]
    assert float(th.cat(gradients).norm()) == pytest.approx(1, rel=1e-3)
