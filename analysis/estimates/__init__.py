"""A number with its interval, and what is said where there is none."""
