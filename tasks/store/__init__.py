"""Digests, schemas, atomic Parquet tables, the DuckDB snapshot; which every stage uses."""
