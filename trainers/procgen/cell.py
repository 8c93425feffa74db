"""The rows of the Procgen studies: what a run is told, and what it yields.

Neither torch nor Ray nor envpool is imported here.
"""

from dataclasses import dataclass

from trainers.columns import axis, choice, clock, measured, repeat


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """All that identifies a run, nothing measured. Defaults are those of OpenAI's train-procgen."""

    game: str = axis("", "one of Procgen's 16")
    frames: int = axis("frames", "to train on: the run sees as many, in whole updates")
    width: float = axis("1", "multiplier of the network's 16, 32, 32 channels and 256 units", default=1.0)
    levels: int = axis("levels", "to train on; 0: all that there are", default=0)
    distribution: str = axis("", "of the levels: easy or hard", default="easy")
    seed: int = repeat("1", "of initialisation, levels, actions and order", default=0)
    lr: float = choice("1", "learning rate of Adam, at first", default=5e-4)
    schedule: str = choice("", "of the learning rate: constant, or linear to 0 over the run", default="constant")
    entropy: float = choice("1", "coefficient of the policy's entropy", default=0.01)
    gamma: float = choice("1", "discount of a step", default=0.999)
    gae_lambda: float = choice("1", "lambda of the generalised advantage estimates", default=0.95)
    envs: int = choice("environments", "that play at once", default=64)
    steps: int = choice("steps", "of each environment between two updates", default=256)
    minibatches: int = choice("1", "an epoch", default=8)
    epochs: int = choice("1", "passes over the frames of an update", default=3)
    clip: float = choice("1", "of the ratio of chances, and of the value", default=0.2)
    value_coefficient: float = choice("1", "of the value's loss", default=0.5)
    gradient_norm: float = choice("1", "at which a gradient is clipped", default=0.5)
    episodes: int = choice("episodes", "played afresh after training, on either set of levels", default=128)


@dataclass(frozen=True, order=True, kw_only=True)
class Result(Cell):
    """A finished cell: one row of the table, and the only list of its columns."""

    params: int = measured("parameters", "N, trainable, biases included", law="N")
    samples: int = measured("frames", "D, of the environments, trained on", law="D")
    updates: int = measured("updates", "of envs x steps frames each")
    flops: float = measured("FLOP", "C, of acting and learning, 2 per multiply-add; without the episodes after training", law="C")
    act_flops: float = measured("FLOP", "acting's share of C")
    shortfall: float = measured("1", "L, 1 less the normalised mean return on held-out levels", law="L")
    held_out_return: float = measured("reward", "mean of episodes on levels outside training's (of all: drawn afresh)",
                                      law="return")
    held_out_error: float = measured("reward", "standard error of it, over the episodes")
    held_out_score: float = measured("1", "normalised: 0 for a random agent, 1 for the best")
    training_return: float = measured("reward", "mean of episodes on the training levels, played after training")
    training_error: float = measured("reward", "standard error of it, over the episodes")
    training_score: float = measured("1", "normalised likewise")
    played_frames: int = measured("frames", "of all these episodes")
    recent_return: float = measured("reward", "mean of the last 100 episodes in training, as published curves have it; 0 of none")
    recent_episodes: int = measured("episodes", "in that mean: fewer where fewer have ended")
    trained_episodes: int = measured("episodes", "that ended in training")
    policy_entropy: float = measured("nat", "of the policy, mean over the last update")
    policy_change: float = measured("nat", "divergence from the policy that acted, mean over the last update's last epoch")
    clipped: float = measured("1", "share of frames beyond the clip in that epoch")
    train_seconds: float = clock("s", "wall time of acting and learning")
    device: str = measured("", "cpu, or the GPU's name")
    fingerprint: str = measured("", "of the games' version, the bounds and the trainer's code")
