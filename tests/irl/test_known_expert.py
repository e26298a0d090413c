"""AIRL finds an expert that is known in closed form, and stays there."""

from typing import Any

import pytest

from ardae_rl.irl import AIRL
from tests.irl.known_expert import Divergences, OneStep, demonstrations

GENERATORS: dict[str, dict[str, Any]] = {
    "sac": {"learning_rate": 1e-3, "batch_size": 128},
    "sac_ardae": {"learning_rate": 1e-3, "batch_size": 128},
}
N_STEPS = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("generator", GENERATORS)
def test_divergence_from_the_expert(generator: str, seed: int) -> None:
    """In the second half of training, the policy stays close to the expert."""
    kwargs = GENERATORS[generator] | {"gamma": 0.9, "buffer_size": N_STEPS}
    net_arch = {"net_arch": [64, 64]}
    demos = demonstrations(2000)
    model = AIRL("MlpPolicy", OneStep(), demos, generator, kwargs, policy_kwargs=net_arch, seed=seed, device="cpu")
    recorded = Divergences(interval=200)
    model.learn(N_STEPS, callback=recorded)
    second_half = recorded.values[len(recorded.values) // 2 :]
    assert max(second_half) <= 0.25, [round(value, 3) for value in recorded.values]
