"""``ppo-variants evaluate``."""

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, say, screen
from sb3_ppo_variants.cli.options import document_options


@document_options
def evaluate(
    path: options.Model,
    env: options.TrainedOn = None,
    algo: options.TrainedWith = None,
    episodes: options.Episodes = 20,
    seed: options.PlaySeed = 10_000,
    stochastic: options.Stochastic = False,
    normalization: options.Statistics = None,
    max_steps: int = 100_000,
) -> None:
    """Evaluate a trained model.

    :param max_steps: Steps after which an episode that does not end is an error
    """
    with clear_errors():
        from sb3_ppo_variants.experiments.models.evaluation import evaluate as evaluate_model

        found = evaluate_model(
            path,
            env,
            algo,
            episodes=episodes,
            seed=seed,
            deterministic=not stochastic,
            normalization=normalization,
            max_steps=max_steps,
        )
        returns = (
            f"return {found.mean:.2f} ± {found.std:.2f} (min {min(found.returns):.2f}, max {max(found.returns):.2f})"
        )
        how = f"{episodes} {'stochastic' if stochastic else 'deterministic'} episodes, seed {seed}"
        what = f"{found.algorithm} on {found.environment}"
        say(f"{what}: {returns} over {how}, {found.normalization}", console=screen())
