"""The error for numbers that are not finite."""


class NonFiniteError(ValueError):
    """
    A NaN or an Inf where training needs a number. Nothing has been learnt from it.

    :param message: What, in which environment, at which step, and what to check
    :param what: ``"observation"``, ``"terminal observation"``, ``"action"``, ``"reward"``, ``"value"``, ``"return"``,
        ``"advantage"``, ``"log-probability"``, ``"parameters"``, ``"output"``, ``"loss"``, ``"gradient"``
        or ``"coefficient"``
    :param env_index: Number of the (first) environment that it came from; ``None`` if it came from none
    :param num_timesteps: Steps taken so far, over all environments together
    :param rollout_step: Number of the step within its rollout, from 0; ``None`` in an update
    """

    def __init__(
        self,
        message: str,
        what: str = "",
        env_index: int | None = None,
        num_timesteps: int | None = None,
        rollout_step: int | None = None,
    ):
        super().__init__(message)
        self.what = what
        self.env_index = env_index
        self.num_timesteps = num_timesteps
        self.rollout_step = rollout_step
