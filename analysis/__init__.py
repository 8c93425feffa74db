"""Scaling-law inference from a table of N, D, C and loss. Imports neither Ray nor torch."""
