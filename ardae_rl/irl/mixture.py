"""The density of a window of samples: a mixture of the policies that collected them, and of uniform actions."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import torch as th
from torch import nn

State = dict[str, th.Tensor]
MAX_POLICIES = 16


@dataclass(eq=False)
class Component:
    """A policy that collected some of the samples.

    :param n_samples: Number of samples that it collected.
    :param state: Parameters of the policy; None for uniform actions.
    :param cache: Log-densities under this policy of data that never changes, by name.
    """

    n_samples: int
    state: State | None
    cache: dict[str, th.Tensor] = field(default_factory=dict)


class PolicyMixture:
    """The policies that collected the newest samples, with the number of samples of each.

    A discriminator D = p / (p + q) is calibrated only if q is the density of the samples that it is trained on, which
    come from many policies. If the newest policy π_new alone took the place of q, the learned reward would contain
    ln π_new - ln q, which rewards the generator for its latest changes.

    The policies between two snapshots are represented by the one at the end of this interval. Neighbors are merged if
    there are more than ``max_policies``.

    :param window: Number of newest samples that the mixture describes.
    :param max_policies: Maximum number of policies to keep.
    """

    def __init__(self, window: int, max_policies: int = MAX_POLICIES) -> None:
        self.window, self.max_policies = window, max_policies
        self.components: list[Component] = []
        self._n_new = self._n_new_random = 0

    def add(self, n_samples: int, random: bool) -> None:
        """Count new samples.

        :param random: Whether their actions are uniformly random instead of the policy's.
        """
        if random:
            self._n_new_random += n_samples
        else:
            self._n_new += n_samples

    def take_snapshot(self, policy: nn.Module) -> None:
        """Attribute the samples since the last snapshot to this policy."""
        if self._n_new_random:
            self.components.append(Component(self._n_new_random, None))
        if self._n_new:
            self.components.append(Component(self._n_new, policy_state(policy)))
        self._n_new = self._n_new_random = 0
        self._drop_old()
        while sum(component.state is not None for component in self.components) > self.max_policies:
            self._merge_smallest()

    def _drop_old(self) -> None:
        excess = sum(component.n_samples for component in self.components) - self.window
        while excess > 0:
            oldest = self.components[0]
            n_dropped = min(excess, oldest.n_samples)
            oldest.n_samples -= n_dropped
            excess -= n_dropped
            if oldest.n_samples == 0:
                del self.components[0]

    def _merge_smallest(self) -> None:
        """Merge the two neighboring policies with the fewest samples into the newer one; ties go to the oldest pair."""
        policies = [component for component in self.components if component.state is not None]
        pairs = list(pairwise(policies))
        older, newer = min(pairs, key=lambda pair: pair[0].n_samples + pair[1].n_samples)
        newer.n_samples += older.n_samples
        self.components.remove(older)

    def log_probs(
        self, policy: nn.Module, log_prob: Callable[[], th.Tensor], uniform: th.Tensor, name: str | None = None
    ) -> th.Tensor:
        """Return the log-densities of the same data under each component, shape (n_components, n).

        :param policy: Policy into which the parameters of each component are loaded in turn; its own are restored.
        :param log_prob: Function that returns the log-densities of the data under the policy, shape (n,).
        :param uniform: Log-densities of the data under uniform actions, shape (n,).
        :param name: Cache key for data that never changes; its densities are computed once per component.
        """
        rows = []
        with restored(policy):
            for component in self.components:
                if component.state is None:
                    rows.append(uniform)
                    continue
                row = component.cache.get(name) if name is not None else None
                if row is None:
                    policy.load_state_dict(component.state, strict=False)
                    row = log_prob()
                    if name is not None:
                        component.cache[name] = row
                rows.append(row)
        return th.stack(rows)

    @property
    def log_weights(self) -> Sequence[float]:
        """The logarithms of the components' fractions of the samples."""
        total = sum(component.n_samples for component in self.components)
        return [math.log(component.n_samples / total) for component in self.components]


def policy_state(policy: nn.Module) -> State:
    """Return a copy of a policy's parameters, without those of critics, which do not affect its density."""
    state = policy.state_dict()
    return {name: value.detach().clone() for name, value in state.items() if not name.startswith("critic")}


@contextmanager
def restored(policy: nn.Module) -> Iterator[None]:
    """Restore a policy's current parameters on exit."""
    state = policy_state(policy)
    try:
        yield
    finally:
        policy.load_state_dict(state, strict=False)
