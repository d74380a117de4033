"""The declaration of the tables: what it must not hold."""

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks.store.schemas import TABLES, Table, schema
from tasks.store.tables import Store


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "at least 1 item"),
        ([["a", "int65", "Its meaning."]], "unknown column types: int65"),
        ([["a", "int64", ""]], "at least 1 character"),
        ([["a", "int64", "One."], ["a", "string", "Another."]], "columns of equal names: a"),
    ],
)
def test_a_wrong_declaration_is_refused(columns: list[list[str]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Table.model_validate({"doc": "Its rows.", "columns": columns})


def test_a_schema_has_the_declared_columns_in_their_order() -> None:
    for name, table in TABLES.items():
        assert schema(name, 4).names == [column.name for column in table.columns]
    assert str(schema("crops", 4, "bf16").field("embedding").type.value_type) == "halffloat"
    assert str(schema("crops", 4).field("embedding").type.value_type) == "float"


def test_the_meaning_of_a_column_is_in_its_file_and_not_in_the_digest(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"class_id": 0, "class_name": "cat"}]
    columns = schema("classes")
    bare = pa.schema([field.remove_metadata() for field in columns])
    refs = [Store(tmp_path / n).write_rows("classes", "a" * 64, c, rows)
            for n, c in (("with", columns), ("without", bare))]  # fmt: skip
    assert refs[0] == refs[1]
    assert Store(tmp_path / "with").find("classes", "a" * 64) == refs[0]
    stored = Store(tmp_path / "with").read(refs[0])
    assert (
        stored.schema.field("class_name").metadata[b"description"] == b"The name put into prompts."
    )
