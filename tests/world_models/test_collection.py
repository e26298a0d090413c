"""Who plays the collected episodes, and how the stored frames are described."""

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from ardae_envs.collection import RandomWeights, StickyRandom
from ardae_rl.world_models import collection
from ardae_rl.world_models.collection import collection_policy, open_store
from ardae_rl.world_models.policies import WorldModelPolicy

FRAMES = spaces.Box(0, 255, (96, 96, 3), np.uint8)
BOX, DISCRETE = spaces.Box(-1, 1, (2,)), spaces.Discrete(3)


def policy(action_space: spaces.Space[Any] = BOX, **arguments: Any) -> WorldModelPolicy:
    return WorldModelPolicy(FRAMES, action_space, z_dim=2, vision_width=4, memory_hidden=4, **arguments)


@pytest.mark.parametrize(
    ("action_space", "iteration", "names", "probabilities"),
    [
        (BOX, 0, ["StickyRandom", "RandomWeights"], [0.5, 0.5]),
        (DISCRETE, 0, ["StickyRandom"], [1]),
        (BOX, 1, ["StickyRandom", "RandomWeights", "Decisions"], [0.25, 0.25, 0.5]),
        (DISCRETE, 2, ["StickyRandom", "Decisions"], [0.5, 0.5]),
    ],
)
def test_shares(action_space: Any, iteration: int, names: list[str], probabilities: list[float]) -> None:
    """Linear policies with random weights need continuous actions; later, half of the episodes are the agent's own."""
    mixture: Any = collection_policy(policy(action_space), iteration, seed=0)
    assert [type(part).__name__ for part in mixture.policies] == names
    np.testing.assert_allclose(mixture.probabilities, probabilities)


def test_all_parts_have_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    for name in ("StickyRandom", "RandomWeights", "Decisions", "Mixture"):
        original = getattr(collection, name)

        def recorded(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            seeds.append(signature(original).bind(*args, **kwargs).arguments["seed"])
            return made

        monkeypatch.setattr(collection, name, recorded)
    collection_policy(policy(), 1, seed=0)
    assert len(set(seeds)) == 4


def test_random_numbers_depend_on_seed_and_round() -> None:
    """And the two random policies draw from different streams."""
    frames, drawn = np.zeros((4, 96, 96, 3), np.uint8), []
    for iteration, seed in ((0, 0), (0, 1), (1, 0)):
        sticky, weights = collection_policy(policy(), iteration, seed).policies[:2]  # type: ignore[attr-defined]
        assert isinstance(sticky, StickyRandom) and isinstance(weights, RandomWeights)
        drawn += [sticky.predict(frames)[0], weights.rng.uniform(-1, 1, (4, 2))]
    for k, one in enumerate(drawn):
        assert all(not np.allclose(one, other) for other in drawn[k + 1 :])


def test_description_of_the_frames(tmp_path: Path) -> None:
    assert open_store(policy(), tmp_path / "a").preprocessing == "0 rows cropped from below, bilinear to 64 x 64"
    described = open_store(policy(cropped_rows=12, action_repeat=2), tmp_path / "b").preprocessing
    assert described == "12 rows cropped from below, bilinear to 64 x 64, actions held for 2 steps"
