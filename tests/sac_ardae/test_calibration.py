"""Target calibration shifts all values by a constant; the paper's form changes the task."""

import math

import pytest
import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.nn import functional as F

from ardae_rl.sac_ardae.calibration import TargetCalibration
from tests.sac_ardae.small import make

GAMMA, ALPHA = 0.9, 0.5
# A chain of three states and two actions: 0 stays, 1 moves on; moving on from the last state ends the episode.
REWARD = th.tensor([[1.0, -1.0], [0.5, 2.0], [-2.0, 5.0]], dtype=th.float64)
NEXT = th.tensor([[0, 1], [1, 2], [2, 2]])
DONE = th.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]], dtype=th.float64)
POLICY = th.tensor([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]], dtype=th.float64)
BONUS = -ALPHA * (POLICY * POLICY.log()).sum(1)  # for each state


def soft_values(added: float, taken: float, reward_less: float = 0.0, done: th.Tensor = DONE) -> th.Tensor:
    """Return the fixed point of Q = r - reward_less + γ (1 - done) (E[Q(s', a')] + bonus(s') + added) - taken."""
    q = th.zeros_like(REWARD)
    for _ in range(2000):
        values = (POLICY * q).sum(1) + BONUS + added
        q = REWARD - reward_less + GAMMA * (1 - done) * values[NEXT] - taken
    return q


def calibration_of_the_chain() -> TargetCalibration:
    calibration = TargetCalibration(GAMMA).double()
    calibration.update((1 - DONE) * GAMMA * BONUS[NEXT])
    return calibration


def test_a_constant_shift_with_terminal_states() -> None:
    shift = calibration_of_the_chain().shift.item()
    assert shift > 1
    plain = soft_values(0, 0)
    th.testing.assert_close(soft_values(shift, shift), plain - shift, rtol=0, atol=1e-12)


def test_the_papers_form_is_a_constant_shift_only_without_terminal_states() -> None:
    calibration = calibration_of_the_chain()
    mean_bonus, shift = calibration.mean_bonus.item(), calibration.shift.item()
    endless = th.zeros_like(DONE)
    difference = soft_values(0, 0, done=endless) - soft_values(0, 0, mean_bonus, endless)
    th.testing.assert_close(difference, th.full_like(difference, shift), rtol=0, atol=1e-12)
    difference = soft_values(0, 0) - soft_values(0, 0, mean_bonus)
    assert difference[2, 1].item() == pytest.approx(mean_bonus)  # ending costs one B
    assert difference.max() > 3 * mean_bonus  # staying costs many


@pytest.mark.parametrize("n_steps", [1, 3])
def test_targets_of_several_steps(n_steps: int) -> None:
    """With a constant entropy bonus b and no reward, the critics learn 0 whatever the number of steps."""
    discount, bonus = GAMMA**n_steps, 2.0
    calibration, q = TargetCalibration(discount), 0.0
    for _ in range(1000):
        calibration.update(th.tensor([[discount * bonus]]))
        shift = calibration.shift.item()
        q = discount * (q + bonus + shift) - shift
    assert q == pytest.approx(0, abs=1e-4)
    model = make(n_steps=n_steps, gamma=GAMMA, target_calibration=True, ent_coef=ALPHA).learn(40)
    assert model.calibration is not None
    th.testing.assert_close(model.calibration.shift, model.calibration.mean_bonus / (1 - discount))


def test_running_mean() -> None:
    calibration = TargetCalibration(0.75)
    assert calibration.shift == 0
    for bonus in (th.tensor([1.0, 3.0]), th.tensor([[5.0]]), th.tensor([-1.0, 0.0, 1.0])):
        calibration.update(bonus)
    assert calibration.mean_bonus.item() == pytest.approx((2 + 5 + 0) / 3)
    assert calibration.shift.item() == pytest.approx(4 * 7 / 3)
    restored = TargetCalibration(0.75)
    restored.load_state_dict(calibration.state_dict())
    assert restored.shift == calibration.shift and restored.count == 3


@pytest.mark.parametrize("gamma", [1.0, -0.1, math.nan])
def test_refused_discount(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"`gamma` must be in \[0, 1\) if `target_calibration` is True, got"):
        TargetCalibration(gamma)


def test_refused_by_the_algorithm() -> None:
    with pytest.raises(ValueError, match=r"`gamma` must be in .* got 1\.0"):
        make(gamma=1.0, target_calibration=True)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[th.Tensor]:
    """Record the critics' targets, once for each critic and update."""
    seen: list[th.Tensor] = []
    mse_loss = F.mse_loss

    def spy(values: th.Tensor, target: th.Tensor) -> th.Tensor:
        seen.append(target)
        return mse_loss(values, target)

    monkeypatch.setattr(F, "mse_loss", spy)
    return seen


N_STEP_DISCOUNTS = th.tensor([[0.9], [0.81], [0.9], [0.729]])


def transitions(discounts: th.Tensor | None) -> ReplayBufferSamples:
    th.manual_seed(0)
    return ReplayBufferSamples(
        observations=th.randn(4, 3),
        actions=th.rand(4, 1),
        next_observations=th.randn(4, 3),
        dones=th.tensor([[0.0], [1.0], [0.0], [0.0]]),
        rewards=th.randn(4, 1),
        discounts=discounts,
    )


@pytest.mark.parametrize("discounts", [None, N_STEP_DISCOUNTS])
def test_targets_of_the_algorithm(discounts: th.Tensor | None, targets: list[th.Tensor]) -> None:
    """If the target critics are lower by C, so are the targets, also at terminal steps and for n-step returns."""
    batch = transitions(discounts)
    shift = 3.0
    for calibrated in (False, True):
        model = make(gamma=GAMMA, target_calibration=calibrated)
        if calibrated:
            assert model.calibration is not None
            # So many updates that the next one changes nothing
            model.calibration.load_state_dict({"mean_bonus": th.tensor(shift * (1 - GAMMA)), "count": th.tensor(1e9)})
            for q_network in model.critic_target.q_networks:
                list(q_network.parameters())[-1].data -= shift  # the output bias
        th.manual_seed(1)
        model.update_critic(batch)
    plain, other, lower, _ = targets
    assert th.equal(plain, other)
    th.testing.assert_close(lower, plain - shift, rtol=0, atol=1e-5)
    assert th.equal(plain[1], batch.rewards[1])


@pytest.mark.parametrize("backup_entropy", [False, True])
def test_discounts_of_the_algorithm(backup_entropy: bool, targets: list[th.Tensor]) -> None:
    """The discount is γ, or the transition's own for n-step returns."""
    model = make(gamma=GAMMA, backup_entropy=backup_entropy)
    future = []
    for discounts in (None, N_STEP_DISCOUNTS):
        th.manual_seed(1)
        model.update_critic(batch := transitions(discounts))
        future.append(targets[-1] - batch.rewards)
    one_step, n_step = future
    assert one_step[1] == n_step[1] == 0 and one_step[[0, 2, 3]].abs().min() > 1e-3
    th.testing.assert_close(n_step, one_step * N_STEP_DISCOUNTS / GAMMA, rtol=1e-4, atol=1e-6)
