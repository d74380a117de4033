"""Stored tables as DuckDB reads them."""

from pathlib import Path

from tasks.score.queries import open_tables
from tasks.store.schemas import schema
from tasks.store.tables import Store


def test_tables_in_a_folder_of_any_name_are_found_by_queries(tmp_path: Path) -> None:
    store = Store(tmp_path / "rank=[1]*?")
    rows: list[dict[str, object]] = [{"image_digest": "d", "reason": "It is empty."}]
    ref = store.write_rows("undecodable", "a" * 64, schema("undecodable"), rows)
    with open_tables(store, {"undecodable": [ref], "predictions": []}) as connection:
        assert connection.sql("FROM undecodable").to_arrow_table().to_pylist() == rows
        assert connection.sql("FROM predictions").fetchall() == []
