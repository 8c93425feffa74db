"""CARBS: cost-aware Pareto-region Bayesian search (Fetterman et al. 2023, arXiv 2306.08055)."""
