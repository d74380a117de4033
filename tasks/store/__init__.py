"""Digests, schemas, atomic Parquet tables, the DuckDB snapshot; known to every stage."""
