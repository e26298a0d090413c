"""No training episode has the seed of an evaluation, or of the training of a model with another seed."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ardae_rl.world_models.seeds import (
    COLLECTION,
    HELD_OUT_SEEDS,
    SELECTION_SEEDS,
    TEST_SEEDS,
    TRAINING_SEEDS,
    first_training_seed,
)
from tests.world_models.brightness import Brightness
from tests.world_models.test_ppo_stage import model as ppo_model
from tests.world_models.test_world_models import model

HELD_OUT = {"environment": {*HELD_OUT_SEEDS}, "ppo": {*SELECTION_SEEDS, *TEST_SEEDS}}


def test_ranges_do_not_meet() -> None:
    ranges = [TRAINING_SEEDS, HELD_OUT_SEEDS, SELECTION_SEEDS, TEST_SEEDS, range(10_000, 20_000)]
    assert all(one.stop <= other.start or other.stop <= one.start for one, other in combinations(ranges, 2))


def test_collections_do_not_meet() -> None:
    """This holds for nearby seeds, and for those that are seeds of evaluations."""
    firsts = sorted(first_training_seed(seed, COLLECTION) for seed in (*range(100), *range(9_800, 10_100), 20_000))
    assert all(b - a > 1000 for a, b in pairwise(firsts))
    assert firsts[0] in TRAINING_SEEDS and firsts[-1] + 2**20 in TRAINING_SEEDS


class Played(Brightness):
    """Records the seeds of its episodes; ``env`` itself is reset, but never stepped."""

    seeds: ClassVar[list[int]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.extend([] if seed is None else [seed])
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize("search", ["environment", "ppo"])
def test_models_with_nearby_seeds(search: str, tmp_path: Path) -> None:
    """All rounds of two models: they have only the held-out episodes in common, and train on none of them."""
    trained = []
    for seed in (10_000, 10_001):
        Played.seeds.clear()
        toy: dict[str, Any] = {"env": Brightness(), "collection_env": Played, "search_env": Played}
        make = ppo_model if search == "ppo" else model
        make(tmp_path / str(seed), seed=seed, n_iterations=2, **toy).learn(100)
        assert {seed for seed in Played.seeds if seed not in TRAINING_SEEDS} <= HELD_OUT[search]
        trained.append({seed for seed in Played.seeds if seed in TRAINING_SEEDS})
    assert len(trained[0]) >= 8 and not trained[0] & trained[1]
