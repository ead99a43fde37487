"""rl_zoo3 configurations, one file an algorithm; see README.md. Installed as ``sb3_ppo_variants.zoo_configs``."""
