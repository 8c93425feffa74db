"""Counting how often intervals cover."""

from scipy import stats


def within_92_and_98(hits: int, tries: int) -> bool:
    """Whether a binomial test at 1% leaves room for a coverage between 92% and 98%."""
    return stats.binom.sf(hits - 1, tries, 0.98) > 0.01 and stats.binom.cdf(hits, tries, 0.92) > 0.01


def told(scenario, what: dict, tries: int) -> None:
    """For the README: pytest -s."""
    print(f"\n{scenario}: " + ", ".join(f"{' '.join(k) if isinstance(k, tuple) else k} {h / tries:.3f}" for k, h in what.items()))
