"""From anybody's file to runs: read, named, in units, cleaned, grouped."""
