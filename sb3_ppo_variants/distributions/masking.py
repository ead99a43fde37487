"""Invalid actions: logits that leave them no probability."""

from sb3_ppo_variants.arrays import Array, namespace_of

#: The logit of an action that is not allowed, sb3-contrib's. −inf would make p·log p, and its slope, NaN.
MASKED_LOGIT = -1e8


def masked_logits(logits: Array, action_masks: Array | None) -> Array:
    """
    The logits of a distribution over the allowed actions alone: p(a|s) ∝ mask(a)·exp(logit(a)).

    Entropy, KL, their slopes and the Fisher product need no other change: each has a factor p, which is exactly 0 (also
    in float32) where the mask is. Source: Huang & Ontañón 2020, arXiv:2006.14171, section 3.

    :param logits: shape (B, D), or (B, ΣD) of several choices side by side
    :param action_masks: whether each action is allowed, same shape; ``None``: all are
    :return: same shape
    """
    if action_masks is None:
        return logits
    masked: Array = namespace_of(logits).where(action_masks, logits, MASKED_LOGIT)
    return masked
