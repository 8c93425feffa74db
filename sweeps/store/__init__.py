"""The durable table: rows in Parquet, a journal that no crash can tear."""
