"""Grids of cells, scheduled by Ray Tune and kept in one Parquet table."""
