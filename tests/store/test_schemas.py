"""The declaration of the tables: what it must not hold."""

import pytest
from pydantic import ValidationError

from tasks.store.schemas import TABLES, Table, schema


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
