"""What Kaplan et al. 2020 (arXiv 2001.08361) and Henighan et al. 2020 (arXiv 2010.14701) found, to be told beside ours."""

from dataclasses import dataclass

PF_DAY = 1e15 * 86_400   # FLOPs


@dataclass(frozen=True)
class Published:
    """L = floor + (scale/x)^exponent; nats a token."""

    exponent: float
    scale: float            # in parameters, tokens or FLOPs
    floor: float = 0.0


# Equations 1.1 to 1.3.
KAPLAN = {"N": Published(0.076, 8.8e13), "D": Published(0.095, 5.4e13), "C": Published(0.050, 3.1e8 * PF_DAY)}
KAPLAN_JOINT = {"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13}   # table 2

# Table 1: domain -> of N and of C.
HENIGHAN = {
    "language": {"N": Published(0.070, 1.47e14), "C": Published(0.048, 3.47e8 * PF_DAY)},
    "image 8x8": {"N": Published(0.24, 80, 3.12), "C": Published(0.19, 1.8e-8 * PF_DAY, 3.13)},
    "image 16x16": {"N": Published(0.22, 280, 2.64), "C": Published(0.16, 1.6e-8 * PF_DAY, 2.64)},
    "image 32x32": {"N": Published(0.13, 63, 2.20), "C": Published(0.10, 3.6e-9 * PF_DAY, 2.21)},
    "video": {"N": Published(0.24, 3.7e4, 1.01), "C": Published(0.14, 2.2e-5 * PF_DAY, 0.95)},
}


def henighan_range(variable: str) -> tuple[float, float] | None:
    """Lowest and highest exponent of table 1; None of D, of which it has none."""
    found = [laws[variable].exponent for laws in HENIGHAN.values() if variable in laws]
    return (min(found), max(found)) if found else None
