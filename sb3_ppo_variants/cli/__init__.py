"""The ``ppo-variants`` command, the only package that imports typer."""

from sb3_ppo_variants.cli.commands import app, main

__all__ = ["app", "main"]
