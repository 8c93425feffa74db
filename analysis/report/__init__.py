"""A study told: on the terminal, as a page, as JSON."""
