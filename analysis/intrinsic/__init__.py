"""The scaling of an agent: intrinsic performance, the least compute that reaches a return (Hilton et al. 2023)."""
