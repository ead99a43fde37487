"""Two small environments with invalid actions, to compare masks with penalties.

Their ids are ``sb3_ppo_variants/Maze-v0`` and ``sb3_ppo_variants/Packing-v0``. Their ``action_masks()`` says which
actions are valid. An agent that does not ask may take an invalid one: it changes nothing and costs ``penalty``. So one
environment serves both ways of learning what is valid.
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

PIXELS = 40  # on the side of a cell, and of an item


class Maze(gymnasium.Env[np.ndarray, np.int64]):
    """
    Find the way through a maze, the same in each episode; a step into a wall is invalid.

    The maze is a random spanning tree of the cells, so that there is one way from each to each. Reward: −0.01 per step,
    1 at the exit. Observation: the cell's row and column, scaled to [−1, 1], and whether there is a wall on each side.

    :param size: Cells on a side, ≥ 2
    :param penalty: What an invalid action costs
    :param maze_seed: Seed of the maze
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]
    #: Row and column by action: up, right, down, left.
    MOVES: ClassVar[list[tuple[int, int]]] = [(-1, 0), (0, 1), (1, 0), (0, -1)]

    def __init__(self, size: int = 5, penalty: float = 0.1, maze_seed: int = 0, render_mode: str | None = None):
        self.render_mode = render_mode
        self.size = size
        self.penalty = penalty
        self.action_space = spaces.Discrete(4)
        self.observation_space = spaces.Box(-1.0, 1.0, (6,), np.float32)
        self.max_steps = 8 * size * size
        #: Whether one can go on from a cell, by row, column and action.
        self.open = self._dig(np.random.default_rng(maze_seed))
        self._cell, self._steps = (0, 0), 0

    def _dig(self, rng: np.random.Generator) -> np.ndarray:
        """Depth-first search that opens the wall to each cell that it comes to."""
        is_open = np.zeros((self.size, self.size, 4), dtype=bool)
        seen, path = {(0, 0)}, [(0, 0)]
        while path:
            row, column = path[-1]
            around = [(action, (row + dr, column + dc)) for action, (dr, dc) in enumerate(self.MOVES)]
            unseen = [(a, cell) for a, cell in around if min(cell) >= 0 and max(cell) < self.size and cell not in seen]
            if not unseen:
                path.pop()
                continue
            action, cell = unseen[rng.integers(len(unseen))]
            is_open[row, column, action] = is_open[(*cell, (action + 2) % 4)] = True
            seen.add(cell)
            path.append(cell)
        return is_open

    def action_masks(self) -> np.ndarray:
        """Which steps lead into a cell, shape (4,)."""
        masks: np.ndarray = self.open[self._cell]
        return masks

    def _observation(self) -> np.ndarray:
        row, column = (2 * index / (self.size - 1) - 1 for index in self._cell)
        return np.array([row, column, *~self.action_masks()], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin at the entrance, in the first cell."""
        super().reset(seed=seed, options=options)
        self._cell, self._steps = (0, 0), 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        """
        :param action: 0 to 3: up, right, down, left
        """
        self._steps += 1
        is_valid = bool(self.action_masks()[action])
        if is_valid:
            row, column = self.MOVES[action]
            self._cell = self._cell[0] + row, self._cell[1] + column
        is_out = self._cell == (self.size - 1, self.size - 1)
        reward = float(is_out) - 0.01 - (not is_valid) * self.penalty
        return self._observation(), reward, is_out, self._steps >= self.max_steps, {"is_success": is_out}

    def render(self) -> np.ndarray:
        """The maze, with the exit in green and the agent in blue; RGB."""
        picture = np.full((self.size * PIXELS, self.size * PIXELS, 3), 255, np.uint8)
        for cell in np.ndindex(self.size, self.size):
            row, column = (index * PIXELS for index in cell)
            square = picture[row : row + PIXELS, column : column + PIXELS]
            if cell == (self.size - 1, self.size - 1):
                square[:] = 120, 200, 120
            if cell == self._cell:
                square[PIXELS // 4 : -PIXELS // 4, PIXELS // 4 : -PIXELS // 4] = 40, 80, 200
            sides = (square[:2], square[:, -2:], square[-2:], square[:, :2])
            for side, is_open in zip(sides, self.open[cell], strict=True):
                if not is_open:
                    side[:] = 0
        return picture


class Packing(gymnasium.Env[np.ndarray, np.int64]):
    """
    Pack a bag with the most valuable of n items, different ones in each episode; what is packed already, or no longer
    fits, is invalid.

    The episode ends when nothing fits. Reward: the item's value, uniform in [0, 1], over the value of all items.
    Weights are uniform in [0.1, 1], the bag holds a third of them. Observation: weight and value of each item (both 0
    once it is packed), and the room left, over that of the empty bag.

    :param n_items: n ≥ 1
    :param penalty: What an invalid action costs
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 2}  # type: ignore[misc]

    def __init__(self, n_items: int = 15, penalty: float = 0.1, render_mode: str | None = None):
        self.render_mode = render_mode
        self.n_items = n_items
        self.penalty = penalty
        self.action_space = spaces.Discrete(n_items)
        self.observation_space = spaces.Box(0.0, 1.0, (2 * n_items + 1,), np.float32)
        self.max_steps = 4 * n_items
        self._weights = self._values = np.zeros(n_items)
        self._packed = np.zeros(n_items, dtype=bool)
        self._bag, self._left, self._steps = 1.0, 1.0, 0

    def action_masks(self) -> np.ndarray:
        """Which items fit, shape (n,)."""
        masks: np.ndarray = ~self._packed & (self._weights <= self._left)
        return masks

    def _observation(self) -> np.ndarray:
        unpacked = ~self._packed
        items = (self._weights * unpacked, self._values * unpacked, [max(self._left / self._bag, 0.0)])
        return np.concatenate(items).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draw other items, and empty the bag."""
        super().reset(seed=seed, options=options)
        self._weights = self.np_random.uniform(0.1, 1.0, self.n_items)
        self._values = self.np_random.uniform(0.0, 1.0, self.n_items)
        self._packed = np.zeros(self.n_items, dtype=bool)
        # The lightest fits, so that there is a first action.
        self._bag = self._left = float(max(self._weights.sum() / 3, self._weights.min()))
        self._steps = 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        """
        :param action: The item to pack
        """
        self._steps += 1
        reward = -self.penalty
        if self.action_masks()[action]:
            self._packed[action] = True
            self._left -= float(self._weights[action])
            reward = float(self._values[action] / self._values.sum())
        is_full = not self.action_masks().any()
        return self._observation(), reward, is_full, self._steps >= self.max_steps, {}

    def render(self) -> np.ndarray:
        """The items, as wide as they weigh and as high as they are worth: green if packed, grey if too heavy; RGB."""
        picture = np.full((2 * PIXELS, self.n_items * PIXELS, 3), 255, np.uint8)
        for item, fits in enumerate(self.action_masks()):
            width, height = int(self._weights[item] * (PIXELS - 4)), int(self._values[item] * (2 * PIXELS - 4)) + 2
            colour = (120, 200, 120) if self._packed[item] else (40, 80, 200) if fits else (180, 180, 180)
            picture[-height:, item * PIXELS + 2 : item * PIXELS + 2 + width] = colour
        return picture
