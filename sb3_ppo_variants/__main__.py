"""``python -m sb3_ppo_variants`` is the ``ppo-variants`` command."""

from sb3_ppo_variants.cli import main

if __name__ == "__main__":
    main()
