"""The documented hyperparameters: symbol, argument, default and the range that the literature gives.

The classes, the tuner and the plots read these numbers from here, and a test compares the README with them.
Source: Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347, Tables 1, 3 and 5 (``n_epochs`` 10
for MuJoCo, 3 for Atari; ``ent_coef`` 0.01 for Atari). ``vf_coef`` 0.5 is Stable-Baselines3's, applied to the whole
squared error; OpenAI Baselines' ppo2 applies 0.5 to half of it.
"""

from typing import Generic, TypeVar

from typing_extensions import NamedTuple

Number = TypeVar("Number", int, float)


class Documented(NamedTuple, Generic[Number]):
    """One documented hyperparameter.

    :param symbol: Its letter in the papers
    :param argument: The constructor's argument
    :param default: The documented default
    :param low: Lower end of the documented range; ``None`` where only a default is documented
    :param high: Upper end of the documented range; ``None`` where only a default is documented
    """

    symbol: str
    argument: str
    default: Number
    low: Number | None = None
    high: Number | None = None


CLIP_RANGE = Documented("ε", "clip_range", 0.2, 0.1, 0.2)
GAMMA = Documented("γ", "gamma", 0.99)
GAE_LAMBDA = Documented("λ", "gae_lambda", 0.95)
N_EPOCHS = Documented("K", "n_epochs", 10, 3, 10)
VF_COEF = Documented("c₁", "vf_coef", 0.5)
ENT_COEF = Documented("c₂", "ent_coef", 0.01)

DOCUMENTED = (CLIP_RANGE, GAMMA, GAE_LAMBDA, N_EPOCHS, VF_COEF, ENT_COEF)
