"""The training of state-space models."""

from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl.dvbf.dynamics import GaussianEmission, LearnedSSM, LocallyLinearDynamics
from ardae_rl.dvbf.policies import make_posterior
from ardae_rl.dvbf.posteriors import SequenceEncoder
from ardae_rl.runs.run import Run
from experiments.state_space import training as state_space

N, T, LENGTH = 5, 9, 4


def test_windows_keep_controls_with_what_they_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows start anywhere they fit, and contain the control of each step."""
    x = (100 * th.arange(N)[:, None] + th.arange(T + 1)).float().unsqueeze(-1)
    model = LearnedSSM(LocallyLinearDynamics(2, 1, 2), GaussianEmission(2, 1, (4,)))
    posterior = make_posterior("noise", SequenceEncoder(1, 1, 4), 2, 1)
    bound, starts = state_space.elbo, set()

    def checked(model: Any, posterior: Any, x: th.Tensor, u: th.Tensor) -> Any:
        assert x.shape == (8, LENGTH, 1) and th.equal(u, x[:, :-1])
        assert (x.diff(dim=1) == 1).all() and th.equal(x[:, 0] // 100, x[:, -1] // 100)
        starts.update((x[:, 0, 0] % 100).tolist())
        return bound(model, posterior, x, u)

    monkeypatch.setattr(state_space, "elbo", checked)
    settings = {"n_updates": 10, "batch_size": 8, "learning_rate": 1e-3, "anneal_updates": 5, "length": LENGTH}
    th.manual_seed(0)
    state_space.fit(model, posterior, x, x[:, :-1], settings, Run(tmp_path), dict)
    assert starts == set(range(T + 2 - LENGTH))
