"""The grids of the Procgen studies, and where a search starts."""

from trainers.task import Preset

UPDATE = 64 * 256   # frames, by default: budgets are multiples of it


def doublings(first: int, count: int) -> tuple[int, ...]:
    """Frames: so many updates, and twice as many each time."""
    return tuple(first * UPDATE * 2**k for k in range(count))


FOUR = ("bigfish", "coinrun", "fruitbot", "starpilot")
SIXTEEN = ("bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot", "heist", "jumper",
           "leaper", "maze", "miner", "ninja", "plunder", "starpilot")

PRESETS = {
    "smoke": Preset({"game": ("starpilot",), "width": (0.125,), "frames": (1024, 2048)}, 1,
                    choices={"envs": 16, "steps": 32, "episodes": 4}, purpose="a test, seconds"),
    "quick": Preset({"game": ("starpilot",), "width": (0.125, 0.25), "frames": doublings(2, 4)}, 1,
                    purpose="a first curve"),
    "standard": Preset({"game": FOUR, "width": (0.125, 0.25, 0.5), "frames": doublings(4, 5)}, 2, purpose="a day of 2 cores"),
    "full": Preset({"game": SIXTEEN, "width": (0.25, 0.5, 1.0, 2.0, 4.0), "frames": (*doublings(15, 7), 25_001_984),
                    "levels": (0, 200)}, 3, purpose="GPUs"),
}

# A search's dimensions. The centre is the published agent at a quarter of its width, for as long as it takes to learn something.
SEARCH = {
    "width": "log:0.25:0.0625:4",
    "frames": "log:65536:16384:25001984",
    "lr": "log:5e-4:1e-5:1e-1",
    "entropy": "log:0.01:1e-5:1",
    "gamma": "logit:0.999",
    "gae_lambda": "logit:0.95",
    "envs": "pow2:64:8:512",
    "steps": "pow2:256:16:1024",
    "minibatches": "pow2:8:1:64",
    "epochs": "log:3:1:12",
    "clip": "log:0.2:0.01:1",
    "value_coefficient": "log:0.5:0.01:10",
    "gradient_norm": "log:0.5:0.01:10",
}
