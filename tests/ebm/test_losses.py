"""Equivalences of generative adversarial networks and guided cost learning, exact on eight points.

Expectations under p and q are means over samples in which each point occurs in proportion to its probability.
"""

import math

import pytest
import torch as th

from ardae_rl.ebm.losses import cost_loss, discriminator_logits, log_mixture
from ardae_rl.ebm.partition import PARTITIONS, PartitionFunction, mixture_log_partition, sampler_log_partition
from ardae_rl.score.losses import contrastive_loss
from tests.oracles.generator_loss import GENERATOR_LOSSES, generator_loss

COUNTS_P = th.tensor([3, 1, 4, 1, 5, 9, 2, 6])
COUNTS_Q = th.tensor([2, 7, 1, 8, 2, 8, 1, 8])
P, Q = COUNTS_P.double() / COUNTS_P.sum(), COUNTS_Q.double() / COUNTS_Q.sum()
POINTS = th.arange(8)
FROM_P, FROM_Q = POINTS.repeat_interleave(COUNTS_P), POINTS.repeat_interleave(COUNTS_Q)
LOG_Q = Q.log()
EXACT = 1e-9


def costs(seed: int = 0) -> th.Tensor:
    """Return arbitrary costs."""
    return th.randn(8, dtype=th.float64, generator=th.Generator().manual_seed(seed))


def fitted_log_z(c: th.Tensor) -> th.Tensor:
    return mixture_log_partition((-c - LOG_Q)[FROM_P], (-c - LOG_Q)[FROM_Q])


def discriminator_loss(c: th.Tensor, log_z: th.Tensor) -> th.Tensor:
    logits = discriminator_logits(c, LOG_Q, log_z)
    return contrastive_loss(logits[FROM_P], logits[FROM_Q])


def test_combined_generator_loss_is_a_divergence() -> None:
    """If D is optimal, E_q[ln(1 - D) - ln D] = KL(q || p); the other two losses are its halves."""
    optimal = P.log() - LOG_Q
    combined = generator_loss(optimal[FROM_Q]).mean()
    assert abs(float(combined - (Q * (Q / P).log()).sum())) < EXACT
    halves = generator_loss(optimal, "original") + generator_loss(optimal, "non_saturating")
    th.testing.assert_close(halves, generator_loss(optimal), atol=EXACT, rtol=0)
    discriminated = P / (P + Q)
    th.testing.assert_close(generator_loss(optimal, "original"), (1 - discriminated).log(), atol=EXACT, rtol=0)
    th.testing.assert_close(generator_loss(optimal, "non_saturating"), -discriminated.log(), atol=EXACT, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_partition_is_a_fixed_point_and_a_minimum(seed: int) -> None:
    """Z = E_μ[e^-c / (½ e^-c / Z + ½ q)], and the discriminator's loss has its minimum over ln Z there."""
    c = costs(seed)
    log_z = fitted_log_z(c)
    weights = (-c - log_mixture(c, LOG_Q, log_z)).exp()
    fixed = 0.5 * weights[FROM_P].mean() + 0.5 * weights[FROM_Q].mean()
    assert abs(float(fixed.log() - log_z)) < EXACT
    variable = log_z.clone().requires_grad_(True)
    (slope,) = th.autograd.grad(discriminator_loss(c, variable), variable)
    assert abs(float(slope)) < EXACT
    for other in (-0.1, 0.1):
        assert discriminator_loss(c, log_z + other) > discriminator_loss(c, log_z)


def test_partition_is_true_if_the_model_is() -> None:
    """For c = -ln p - a, Z is e^a; for another c, it is not the partition function."""
    c = -P.log() - 0.7
    assert abs(float(fitted_log_z(c)) - 0.7) < EXACT
    c = costs()
    assert abs(float(fitted_log_z(c) - (-c).logsumexp(0))) > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_discriminator_and_cost(seed: int) -> None:
    """Both gradients agree if μ̃ is held constant, and differ with a gradient through it."""
    c = costs(seed).requires_grad_(True)
    log_z = fitted_log_z(c.detach())
    (discriminator,) = th.autograd.grad(discriminator_loss(c, log_z), c)
    likelihood = cost_loss(c[FROM_P], LOG_Q[FROM_P], c[FROM_Q], LOG_Q[FROM_Q], log_z)
    (cost,) = th.autograd.grad(likelihood, c)
    th.testing.assert_close(discriminator, cost, atol=EXACT, rtol=0)

    weights = (-c - log_mixture(c, LOG_Q, log_z)).exp()
    not_frozen = c[FROM_P].mean() + (0.5 * weights[FROM_P].mean() + 0.5 * weights[FROM_Q].mean()).log()
    assert abs((not_frozen - likelihood).item()) < EXACT  # the same value
    (wrong,) = th.autograd.grad(not_frozen, c)
    assert (wrong - cost).abs().max() > 0.01


def test_value_of_the_cost_loss() -> None:
    """With the Z of the mixture, the loss is E_p c + ln Z: the negative log-likelihood if Z is the true one."""
    c = costs()
    log_z = fitted_log_z(c)
    value = cost_loss(c[FROM_P], LOG_Q[FROM_P], c[FROM_Q], LOG_Q[FROM_Q], log_z)
    assert abs(float(value - (P * c).sum() - log_z)) < EXACT


def test_generator_minimizes_the_divergence_to_the_model() -> None:
    """L_gen - (E_q c + E_q ln q) = ln Z for each q, so the gradients are equal."""
    c, log_z = costs(), th.tensor(0.3, dtype=th.float64)
    generator = generator_loss(discriminator_logits(c, LOG_Q, log_z))[FROM_Q].mean()
    sampler = (Q * (c + LOG_Q)).sum()
    assert abs(float(generator - sampler - log_z)) < EXACT


def test_halves_of_the_generator_loss_have_different_gradients() -> None:
    """Gradients with respect to the parameters of q, with the discriminator held fixed."""
    c, log_z = costs(), th.tensor(0.3, dtype=th.float64)
    logits = discriminator_logits(c, LOG_Q, log_z)

    def gradient(kind: str) -> th.Tensor:
        parameters = LOG_Q.clone().requires_grad_(True)
        loss = (parameters.softmax(0) * generator_loss(logits, kind)).sum()
        return th.autograd.grad(loss, parameters)[0]

    whole = gradient("combined")
    th.testing.assert_close(gradient("original") + gradient("non_saturating"), whole, atol=EXACT, rtol=0)
    for kind in ("original", "non_saturating"):
        assert th.cosine_similarity(gradient(kind), whole, dim=0) < 0.999


def test_sampler_estimate_varies_if_q_misses_a_mode() -> None:
    """Of two equal modes, q hits one in a hundred times: the mixture's estimate varies far less."""
    generator = th.Generator().manual_seed(0)
    estimates: dict[str, list[float]] = {"mixture": [], "sampler": []}
    share = 0.01
    log_q = th.tensor([1 - share, share], dtype=th.float64).log()
    log_ratio = math.log(0.5) - log_q  # of the model, which has Z = 1
    for _ in range(300):
        demos = (th.rand(100, generator=generator) < 0.5).long()
        samples = (th.rand(100, generator=generator) < share).long()
        estimates["mixture"].append(mixture_log_partition(log_ratio[demos], log_ratio[samples]).exp().item())
        estimates["sampler"].append(sampler_log_partition(log_ratio[samples]).exp().item())
    spread = {kind: th.tensor(values).std().item() for kind, values in estimates.items()}
    assert spread["mixture"] < spread["sampler"] / 5
    assert abs(th.tensor(estimates["mixture"]).mean().item() - 1) < 0.05


def test_kinds_of_partition() -> None:
    """An estimated ln Z is a buffer; a learned one is a parameter with the gradient of the discriminator's loss."""
    c = costs().float()
    log_q = LOG_Q.float()
    at = (c[FROM_P], log_q[FROM_P], c[FROM_Q], log_q[FROM_Q])
    partitions = {kind: PartitionFunction(kind) for kind in PARTITIONS}
    for partition in partitions.values():
        partition.update(*at)
    assert abs(float(partitions["mixture"].log_z) - float(fitted_log_z(costs()))) < 1e-5
    assert abs(float(partitions["sampler"].log_z) - float((-costs()).logsumexp(0))) < 1e-5  # exact where q is exact
    learned = partitions["learned"]
    assert float(learned.log_z) == 0 and [name for name, _ in learned.named_parameters()] == ["log_z"]
    optimizer = th.optim.Adam(learned.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        discriminator_loss(costs(), learned.log_z.double()).backward()
        optimizer.step()
    assert abs(float(learned.log_z) - float(fitted_log_z(costs()))) < 1e-3
    assert not list(partitions["mixture"].parameters())


def test_names() -> None:
    assert GENERATOR_LOSSES == ("original", "non_saturating", "combined")
    with pytest.raises(ValueError, match=r"`kind` must be one of 'original', .*, got 'both'"):
        generator_loss(th.zeros(1), "both")
    with pytest.raises(ValueError, match=r"`kind` must be one of 'mixture', .*, got 'true'"):
        PartitionFunction("true")
