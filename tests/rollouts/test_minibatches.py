"""Minibatches with their rows: SB3's own draws, and rows that really index the flattened buffer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from sb3_ppo_variants.rollouts import Rows, minibatches, rows_in_order
from tests.environments import OBSERVATION_SPACES

N_STEPS, N_ENVS = 5, 2
N = N_STEPS * N_ENVS
ACTION_SPACE = spaces.Box(-1.0, 1.0, (1,), np.float32)


def fill(buffer: RolloutBuffer, space: spaces.Space) -> RolloutBuffer:
    """Every number stored tells where it came from: 10·step + environment."""
    space.seed(0)
    for step in range(N_STEPS):
        here = 10.0 * step + np.arange(N_ENVS, dtype=np.float32)
        samples = [space.sample() for _ in range(N_ENVS)]
        if isinstance(space, spaces.Dict):
            obs: Any = {key: np.stack([sample[key] for sample in samples]) for key in space.spaces}
        else:
            obs = np.stack(samples)
        tensor = th.from_numpy(here)
        buffer.add(obs, here[:, None], here, np.full(N_ENVS, float(step == 0)), tensor + 0.25, tensor + 0.5)
    buffer.compute_returns_and_advantage(th.zeros(N_ENVS), np.zeros(N_ENVS, bool))
    return buffer


def make(kind: str = "vector", buffer_class: type[RolloutBuffer] | None = None) -> RolloutBuffer:
    space = OBSERVATION_SPACES[kind]
    default = DictRolloutBuffer if kind == "dict" else RolloutBuffer
    buffer = (buffer_class or default)(N_STEPS, space, ACTION_SPACE, device="cpu", n_envs=N_ENVS)
    return fill(buffer, space)


def assert_same(ours: Rows, theirs: Any) -> None:
    assert ours.old_parameters == ()
    for name, their_field in zip(theirs._fields, theirs, strict=True):
        our_field = getattr(ours, name)
        if isinstance(their_field, dict):
            assert our_field.keys() == their_field.keys()
            assert all(th.equal(our_field[key], their_field[key]) for key in their_field), name
        else:
            assert th.equal(our_field, their_field), name


class UsersBuffer(RolloutBuffer):
    """SB3's, as a user might subclass it: it draws its minibatches itself."""


class UsersDictBuffer(DictRolloutBuffer):
    """The same for dictionaries."""


USERS_BUFFER = {"vector": UsersBuffer, "dict": UsersDictBuffer}
whose = pytest.mark.parametrize("own", [False, True], ids=["sb3s", "users"])


def make_one(kind: str, own: bool) -> RolloutBuffer:
    return make(kind, USERS_BUFFER[kind] if own else None)


both_kinds = pytest.mark.parametrize("kind", ["vector", "dict"])


@whose
@both_kinds
@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (3, [3, 3, 3, 1]), (99, [10]), (None, [10])]
)
def test_the_draws_are_sb3s(kind: str, own: bool, batch_size: int | None, sizes: list[int]) -> None:
    ours, theirs = make_one(kind, own), make(kind)
    np.random.seed(7)
    our_epochs = [list(minibatches(ours, batch_size)) for _ in range(3)]
    after = np.random.random()
    np.random.seed(7)
    their_epochs = [list(theirs.get(batch_size)) for _ in range(3)]
    assert np.random.random() == after
    for our_epoch, their_epoch in zip(our_epochs, their_epochs, strict=True):
        assert [len(minibatch.rows) for minibatch in our_epoch] == sizes
        for minibatch, samples in zip(our_epoch, their_epoch, strict=True):
            assert_same(minibatch.rows, samples)


@whose
@both_kinds
@pytest.mark.parametrize("batch_size", [4, None])
def test_numbers_index_the_flattened_buffer(kind: str, own: bool, batch_size: int | None) -> None:
    buffer = make_one(kind, own)
    seen = []
    for rows, numbers in minibatches(buffer, batch_size):
        assert numbers is not None
        seen.append(numbers)
        assert_same(rows, buffer._get_samples(numbers))
        # Environment by environment: row i is step i mod T of environment i div T.
        step, env = numbers % N_STEPS, numbers // N_STEPS
        np.testing.assert_array_equal(rows.actions.numpy().ravel(), 10.0 * step + env)
        np.testing.assert_array_equal(rows.old_values.numpy(), 10.0 * step + env + 0.25)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(N))


@whose
@both_kinds
@pytest.mark.parametrize(("batch_size", "sizes"), [(4, {4, 2}), (None, {6})])
def test_rows_that_do_not_count_are_left_out(kind: str, own: bool, batch_size: int | None, sizes: set[int]) -> None:
    buffer = make_one(kind, own)
    kept = np.array([True, False, True, True, False, True, True, False, False, True])
    epoch = list(minibatches(buffer, batch_size, kept))
    np.testing.assert_array_equal(np.sort(np.concatenate([numbers for _, numbers in epoch])), np.flatnonzero(kept))
    for rows, numbers in epoch:
        assert_same(rows, buffer._get_samples(numbers))
    if not own:
        assert {len(rows) for rows, _ in epoch} == sizes


def test_a_buffer_that_is_not_full_is_refused() -> None:
    """As SB3's ``get`` refuses it."""
    buffer = make()
    buffer.reset()
    with pytest.raises(AssertionError):
        next(buffer.get(4))
    with pytest.raises(ValueError, match="holds 0 of 5 steps"):
        next(minibatches(buffer, 4))


@whose
def test_the_permutation_is_drawn_when_the_first_minibatch_is_asked_for(own: bool) -> None:
    buffer = make_one("vector", own)
    np.random.seed(3)
    expected = np.random.RandomState(3).permutation(N)
    epoch = minibatches(buffer, 4)
    assert np.random.RandomState(3).get_state()[2] == np.random.get_state()[2]
    np.testing.assert_array_equal(next(epoch).numbers, expected[:4])
    epoch.close()


@whose
@both_kinds
def test_others_may_ask_for_rows_in_between(kind: str, own: bool) -> None:
    buffer, undisturbed = make_one(kind, own), make_one(kind, own)
    np.random.seed(5)
    expected = list(minibatches(undisturbed, 4))
    np.random.seed(5)
    for minibatch, other in zip(minibatches(buffer, 4), expected, strict=True):
        assert sum(len(rows) for rows in rows_in_order(buffer, 3)) == N
        buffer._get_samples(np.array([0, 1]))
        np.testing.assert_array_equal(minibatch.numbers, other.numbers)
        assert_same(minibatch.rows, buffer._get_samples(other.numbers))


def test_the_buffer_is_as_it_was_after_the_last_minibatch() -> None:
    buffer = make_one("vector", own=True)
    for _ in minibatches(buffer, 4):
        assert "_get_samples" in vars(buffer)
    assert "_get_samples" not in vars(buffer)


def test_the_buffer_is_as_it_was_after_an_early_break() -> None:
    buffer = make_one("vector", own=True)
    for _ in minibatches(buffer, 4):
        break
    assert "_get_samples" not in vars(buffer)


def test_the_buffer_is_as_it_was_after_an_error() -> None:
    class Broken(RolloutBuffer):
        def get(self, batch_size: int | None = None) -> Any:
            yield from super().get(batch_size)
            raise RuntimeError("broken")

    buffer = make(buffer_class=Broken)
    with pytest.raises(RuntimeError, match="broken"):
        list(minibatches(buffer, 4))
    assert "_get_samples" not in vars(buffer)


class DrawsInAnotherWay(RolloutBuffer):
    """Picks its rows without ``_get_samples``."""

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:
        for samples in list(super().get(batch_size)):
            yield RolloutBufferSamples(*samples)


class DrawsTwice(RolloutBuffer):
    """Two calls of ``_get_samples`` for one minibatch."""

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:
        pending = None
        for samples in super().get(batch_size):
            if pending is None:
                pending = samples
            else:
                yield RolloutBufferSamples(*(th.cat(pair) for pair in zip(pending, samples, strict=True)))
                pending = None


class PassesMoreOn(RolloutBuffer):
    """Draws more rows than it yields."""

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> RolloutBufferSamples:
        return RolloutBufferSamples(*(field[:-1] for field in super()._get_samples(batch_inds, env)))


class DrawsSlices(RolloutBuffer):
    """Asks for its rows as slices, not as an array of row numbers."""

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:
        next(super().get(batch_size))  # flattens
        for start in range(0, N, batch_size or N):
            yield self._get_samples(slice(start, start + (batch_size or N)))  # type: ignore[arg-type]


@pytest.mark.parametrize("buffer_class", [DrawsInAnotherWay, DrawsTwice, PassesMoreOn, DrawsSlices])
def test_a_buffer_that_hides_its_rows_has_no_numbers(buffer_class: type[RolloutBuffer]) -> None:
    epoch = list(minibatches(make(buffer_class=buffer_class), 2))
    assert epoch
    assert all(minibatch.numbers is None for minibatch in epoch)


# An epoch that an exception or Ctrl-C left open lives on in the traceback, and ends at any later moment.
@whose
def test_an_abandoned_epoch_that_is_closed_late_does_no_harm(own: bool) -> None:
    buffer = make_one("vector", own)
    abandoned = minibatches(buffer, 4)
    next(abandoned)
    rows = []
    for i, minibatch in enumerate(minibatches(buffer, 4)):
        if i == 0:
            abandoned.close()
        rows.append(minibatch.numbers)
    assert all(drawn is not None for drawn in rows)
    assert all(minibatch.numbers is not None for minibatch in minibatches(buffer, 4))


def test_a_wrapper_on_the_instance_is_put_back() -> None:
    buffer = make()
    calls = []
    original = buffer._get_samples

    def counting(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    buffer._get_samples = counting
    list(minibatches(buffer, 5))
    assert len(calls) == 2
    list(minibatches(buffer, 5))
    assert len(calls) == 4


@both_kinds
@pytest.mark.parametrize(("chunk_size", "sizes"), [(3, [3, 3, 3, 1]), (5, [5, 5]), (10, [10]), (1000, [10])])
def test_rows_in_order(kind: str, chunk_size: int, sizes: list[int]) -> None:
    buffer = make(kind)
    next(minibatches(buffer, None))
    state = np.random.get_state()[1].copy()
    chunks = list(rows_in_order(buffer, chunk_size))
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert [len(chunk.advantages) for chunk in chunks] == sizes
    values = th.cat([chunk.old_values for chunk in chunks])
    # Environment 0's steps 0, 1, …, then environment 1's.
    expected = [10.0 * step + env + 0.25 for env in range(N_ENVS) for step in range(N_STEPS)]
    assert values.tolist() == expected


@both_kinds
@pytest.mark.parametrize("which", [th.tensor([0, 2, 3]), slice(1, 3)], ids=["numbers", "slice"])
def test_select(kind: str, which: th.Tensor | slice) -> None:
    buffer = make(kind)
    rows, numbers = next(iter(minibatches(buffer, 4)))
    rows.old_parameters = (rows.returns[:, None],)
    selected = rows.select(which)
    assert th.equal(selected.old_parameters[0], rows.returns[which][:, None])
    selected.old_parameters = ()
    assert_same(selected, buffer._get_samples(numbers[np.asarray(which) if isinstance(which, th.Tensor) else which]))


def test_select_of_nothing_keeps_the_shapes() -> None:
    rows = next(iter(minibatches(make("dict"), 4))).rows.select(th.zeros(0, dtype=th.long))
    assert {key: tuple(value.shape) for key, value in rows.observations.items()} == {
        "level": (0, 1),
        "position": (0, 3),
    }
    assert rows.actions.shape == (0, 1)


def test_a_get_replaced_on_the_class_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, calls, get = make(), [], RolloutBuffer.get

    def counting(self: RolloutBuffer, batch_size: int | None = None) -> Any:
        calls.append(batch_size)
        return get(self, batch_size)

    monkeypatch.setattr(RolloutBuffer, "get", counting)
    assert sum(len(rows) for rows, _ in minibatches(buffer, 4)) == N
    assert calls == [4]
