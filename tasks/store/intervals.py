"""Intervals of shares, as SQL functions that snapshots and queries of tables have alike."""

from pathlib import Path

import duckdb

_SQL = Path(__file__).parent / "intervals.sql"


def create_intervals(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `wilson_low(share, n)` and `wilson_high(share, n)`, 0-1, for a share of n images."""
    connection.execute(_SQL.read_text(encoding="utf-8"))
