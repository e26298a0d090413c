"""Reward networks: common properties, and the identities of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from ardae_rl.irl import BasicRewardNet, RewardNet, ShapedRewardNet

SPACES: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-3.0, 3.0, (4,), np.float32),
    "image": spaces.Box(0, 255, (3, 36, 36), np.uint8),
    "dictionary": spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,), np.float32), "b": spaces.Discrete(3)}),
    "number": spaces.Discrete(5),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64),
    "discrete": spaces.Discrete(3, start=1),
}
NETS: tuple[type[BasicRewardNet], ...] = (BasicRewardNet, ShapedRewardNet)


def inputs(observations: spaces.Space[Any], actions: spaces.Space[Any], n: int = 6) -> tuple[Any, Any, Any, Any]:
    def drawn(space: spaces.Space[Any]) -> Any:
        rows = [space.sample() for _ in range(n)]
        if isinstance(space, spaces.Dict):
            return {name: np.stack([row[name] for row in rows]) for name in space}
        return np.stack(rows)

    for space in (observations, actions):
        space.seed(0)
    return drawn(observations), drawn(actions), drawn(observations), np.arange(n) % 2


@pytest.mark.parametrize("reward_inputs", ["state", "state_action"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", SPACES)
def test_all(observations: str, actions: str, net: type[BasicRewardNet], reward_inputs: str, tmp_path: Path) -> None:
    """Shapes, a gradient for every parameter, identical rewards after saving and loading."""
    kwargs: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 8}} if observations == "image" else {}
    made = net(SPACES[observations], ACTIONS[actions], inputs=reward_inputs, hidden=(8,), **kwargs)
    given = inputs(SPACES[observations], ACTIONS[actions])
    made.fit_normalizer(made.obs_to_tensor(given[0])[0])
    values = made.predict(*given)
    assert values.shape == (6,) and values.dtype == np.float32 and np.isfinite(values).all()
    tensors = made.obs_to_tensor(given[0])[0], th.as_tensor(given[1]), made.obs_to_tensor(given[2])[0]
    made(*tensors, th.as_tensor(given[3])).sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    made.save(str(tmp_path / "net.pt"))
    loaded = net.load(str(tmp_path / "net.pt"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(*given), values)


def test_observations_of_double_precision() -> None:
    """MuJoCo's observations are in double precision."""
    net = BasicRewardNet(spaces.Box(-3.0, 3.0, (4,), np.float64), ACTIONS["box"])
    observations, actions, after, ends = inputs(SPACES["vector"], ACTIONS["box"])
    values = net.predict(observations.astype(np.float64), actions, after.astype(np.float64), ends)
    assert values.dtype == np.float32


def test_state_reward_ignores_actions() -> None:
    for reward_inputs in ("state", "state_action"):
        net = BasicRewardNet(SPACES["vector"], ACTIONS["box"], inputs=reward_inputs)
        observations, actions, after, ends = inputs(SPACES["vector"], ACTIONS["box"])
        same = net.predict(observations, actions, after, ends) == net.predict(observations, -actions, after, ends)
        assert same.all() == (reward_inputs == "state")


@pytest.mark.parametrize("net", NETS)
def test_reward_of_the_next_state(net: type[BasicRewardNet]) -> None:
    """It depends on the next state, and on the action if that is an input."""
    observations, actions, after, ends = inputs(SPACES["vector"], ACTIONS["box"])
    for reward_inputs in ("state_next_state", "state_action_next_state"):
        made: Any = net(SPACES["vector"], ACTIONS["box"], inputs=reward_inputs, hidden=(8,))
        values = made.predict(observations, actions, after, ends)
        assert not (made.predict(observations, actions, -after, ends) == values).all()
        same = made.predict(observations, -actions, after, ends) == values
        assert same.all() == (reward_inputs == "state_next_state")
    if net is ShapedRewardNet:
        tensors = th.as_tensor(observations).float(), th.as_tensor(actions).float(), th.as_tensor(after).float()
        assert made.unshaped(*tensors).shape == (6,)
        with pytest.raises(ValueError, match="`next_observations` must be given"):
            made.unshaped(*tensors[:2])


def test_options_of_the_perceptron(tmp_path: Path) -> None:
    """Dropout acts in training alone; spectral norms are 1 after some training passes; all options are saved."""
    options: dict[str, Any] = {"activation_fn": "tanh", "dropout": 0.5, "input_dropout": 0.2, "spectral_norm": True}
    net = BasicRewardNet(SPACES["vector"], ACTIONS["box"], hidden=(16, 16), **options)
    given = inputs(SPACES["vector"], ACTIONS["box"])
    tensors = [th.as_tensor(part).float() for part in given]
    net.train()
    with th.no_grad():
        for _ in range(50):
            net(*tensors)
        assert not th.equal(net(*tensors), net(*tensors))
    net.eval()
    assert [layer.p for layer in net.network if isinstance(layer, th.nn.Dropout)] == [0.2, 0.5, 0.5]
    weights = [layer.weight for layer in net.network if isinstance(layer, th.nn.Linear)]
    for weight in weights:
        assert float(th.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, abs=0.02)
    net.save(str(tmp_path / "net.pt"))
    loaded = BasicRewardNet.load(str(tmp_path / "net.pt"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(*given), net.predict(*given))
    assert loaded.options == net.options


def test_shaping_adds_a_potential() -> None:
    """f = g + γ h(s') - h(s); of a terminal state h is 0; sums along a path do not depend on what is between."""
    net = ShapedRewardNet(SPACES["vector"], ACTIONS["box"], gamma=0.9)
    observations, actions, after, _ = inputs(SPACES["vector"], ACTIONS["box"])
    tensors = [th.as_tensor(part).float() for part in (observations, actions, after)]
    with th.no_grad():
        h, h_after = (net.potential(net.normalized_features(tensors[k])).squeeze(-1) for k in (0, 2))
        for ends in (th.zeros(6), th.ones(6)):
            expected = net.unshaped(tensors[0], tensors[1]) + 0.9 * (1 - ends) * h_after - h
            th.testing.assert_close(net(*tensors, ends), expected)


def test_actions_are_scaled() -> None:
    net = BasicRewardNet(SPACES["vector"], ACTIONS["box"])
    scaled = net.action_inputs(th.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 0.5]]))
    th.testing.assert_close(scaled, th.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]))
    one_hot = BasicRewardNet(SPACES["vector"], ACTIONS["discrete"]).action_inputs(th.tensor([[1], [3]]))
    th.testing.assert_close(one_hot, th.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


def test_actions_are_clipped_to_the_limit(tmp_path: Path) -> None:
    """The limit belongs to the saved network."""
    net = BasicRewardNet(SPACES["vector"], ACTIONS["box"])
    net.action_limit.fill_(0.9)
    net.save(str(tmp_path / "net.pt"))
    loaded = BasicRewardNet.load(str(tmp_path / "net.pt"), device="cpu")
    th.testing.assert_close(loaded.action_inputs(th.tensor([[2.0, 0.5]])), th.tensor([[0.9, 0.0]]))


def test_constant_features_are_not_magnified() -> None:
    """A column that is constant in the demonstrations, or almost so, is scaled as the others are."""
    net = BasicRewardNet(SPACES["vector"], ACTIONS["box"])
    demos = th.randn(1000, 4, generator=th.Generator().manual_seed(0)) * th.tensor([1.0, 2.0, 3.0, 1e-5])
    demos[:, 0] = 1234.567
    net.fit_normalizer(demos)
    typical = demos[:, 1].std()
    th.testing.assert_close(net.scale, th.stack([typical, typical, demos[:, 2].std(), typical]))
    far = demos[:1] + th.tensor([0.2, 0.0, 0.0, 0.2])
    shift = net.normalized_features(far) - net.normalized_features(demos[:1])
    th.testing.assert_close(shift[0, [0, 3]], 0.2 / typical.expand(2), atol=1e-3, rtol=0)
    assert net.normalized_features(demos + 1e6).abs().max() == 10
    net.fit_normalizer(th.ones(5, 4))
    th.testing.assert_close(net.scale, th.ones(4))


def test_learned_features_are_not_normalized() -> None:
    """Training changes them: fixed units would soon pin them to their limits, where no gradient passes."""
    th.manual_seed(0)
    net = BasicRewardNet(SPACES["image"], ACTIONS["box"], "state", features_extractor_kwargs={"features_dim": 32})
    levels = th.tensor([60, 200]).repeat_interleave(16).reshape(-1, 1, 1, 1)
    images = (levels + th.randint(-40, 40, (32, 3, 36, 36))).to(th.uint8)
    targets = th.tensor([0.0, 1.0]).repeat_interleave(16)
    net.fit_normalizer(images)
    optimizer = th.optim.Adam(net.parameters(), lr=1e-3)
    batch = images, th.zeros(32, 2), images, th.zeros(32)
    for _ in range(60):
        loss = th.nn.functional.binary_cross_entropy_with_logits(net(*batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    th.testing.assert_close(net.normalized_features(images), net.features(images))


def test_features_of_a_dictionary_with_an_image() -> None:
    """Keys are treated separately: the vector is normalized, the image is not."""
    space = spaces.Dict({"camera": SPACES["image"], "joints": SPACES["vector"], "mode": SPACES["number"]})
    kwargs: dict[str, Any] = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    net = BasicRewardNet(space, ACTIONS["box"], **kwargs)
    given, _ = net.obs_to_tensor(inputs(space, ACTIONS["box"], n=50)[0])
    net.fit_normalizer(given)
    raw, normalized = net.features(given), net.normalized_features(given)
    th.testing.assert_close(normalized[:, :8], raw[:, :8])
    th.testing.assert_close(normalized[:, 8:12].mean(0), th.zeros(4), atol=1e-5, rtol=0)
    th.testing.assert_close(normalized[:, 8:12].std(0), th.ones(4))


def test_actions_of_two_axes() -> None:
    space = spaces.Box(-2.0, 2.0, (2, 3))
    scaled = BasicRewardNet(SPACES["vector"], space).action_inputs(th.ones(4, 2, 3))
    th.testing.assert_close(scaled, th.full((4, 6), 0.5))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"`inputs` must be one of 'state', 'state_action', .* got 'action'"):
        BasicRewardNet(SPACES["vector"], ACTIONS["box"], inputs="action")
    with pytest.raises(ValueError, match=r"`activation_fn` must be one of 'elu', .* got 'step'"):
        BasicRewardNet(SPACES["vector"], ACTIONS["box"], activation_fn="step")
    with pytest.raises(TypeError, match="`hidden` must be a sequence of widths, got 3"):
        BasicRewardNet(SPACES["vector"], ACTIONS["box"], hidden=3)
    with pytest.raises(ValueError, match=r"`dropout` must be between 0 and 1, got 1.5"):
        BasicRewardNet(SPACES["vector"], ACTIONS["box"], dropout=1.5)
    with pytest.raises(ValueError, match=r"`gamma` must be between 0 and 1, got 1.5"):
        ShapedRewardNet(SPACES["vector"], ACTIONS["box"], gamma=1.5)
    with pytest.raises(ValueError, match="`action_space` must be a Box or a Discrete space"):
        BasicRewardNet(SPACES["vector"], spaces.MultiBinary(3))
    assert issubclass(BasicRewardNet, RewardNet)
