"""Controllers with a separate parameter vector for each row."""

import pytest
import torch as th
from torch import nn

from ardae_rl.world_models.controller import Controller


def test_size_of_the_original() -> None:
    """CarRacing: 3 actions of 32 latents and 256 hidden units."""
    assert Controller(288, 3).n_parameters == 867


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_rows_are_networks_of_their_own(hidden: tuple[int, ...]) -> None:
    th.manual_seed(0)
    controller = Controller(3, 2, hidden)
    parameters, features = th.randn(4, controller.n_parameters), th.randn(4, 3)
    actions = controller(parameters, features)
    assert actions.shape == (4, 2) and bool((actions.abs() <= 1).all())
    for row in range(4):
        layers: list[nn.Module] = []
        rest = parameters[row]
        for n_in, n_out in zip((3, *hidden), (*hidden, 2), strict=True):
            own, rest = rest[: n_out * (n_in + 1)].unflatten(0, (n_out, n_in + 1)), rest[n_out * (n_in + 1) :]
            layer = nn.Linear(n_in, n_out)
            layer.weight.data, layer.bias.data = own[:, :-1], own[:, -1]
            layers += [layer, nn.Tanh()]
        th.testing.assert_close(nn.Sequential(*layers)(features[row]), actions[row])
    th.testing.assert_close(controller(parameters[0], features)[0], actions[0])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"`parameters` must have shape \(n, 8\), got \(3,\)"):
        Controller(3, 2)(th.zeros(3), th.zeros(1, 3))
    with pytest.raises(ValueError, match="`n_outputs` must be >= 1, got 0"):
        Controller(3, 0)
    with pytest.raises(ValueError, match="`hidden` must be >= 1, got 0"):
        Controller(3, 2, (0,))
    with pytest.raises(TypeError, match="`hidden` must be a sequence of widths, got 8"):
        Controller(3, 2, 8)  # type: ignore[arg-type]
