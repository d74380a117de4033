"""Computes accuracy, per class and per pair of classes, from predictions."""

from typing import NamedTuple

import pyarrow as pa

from tasks.score import RESULT_TABLES
from tasks.score.queries import open_tables, run_query
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef


class Coverage(NamedTuple):
    """What became of the files of a data set: image_count is the sum of the other two."""

    image_count: int
    scored_count: int
    rejected_count: int


def summarise(store: Store, inputs: dict[str, list[TableRef]]) -> dict[str, pa.Table]:
    """Compute the result tables of a run, by name.

    inputs: the stored `images`, `classes`, `predictions` and `undecodable` tables it rests on.
    """
    with open_tables(store, inputs) as connection:
        return {name: run_query(connection, name).cast(schema(name)) for name in RESULT_TABLES}


def account_for_images(
    store: Store, inputs: dict[str, list[TableRef]], rejected: pa.Table
) -> Coverage:
    """Count what became of every file; RuntimeError unless each is predicted or rejected."""
    with open_tables(
        store, {name: inputs[name] for name in ("images", "predictions")}
    ) as connection:
        (counts,) = run_query(connection, "coverage").to_pylist()
    covered = Coverage(**counts, rejected_count=rejected.num_rows)
    if covered.image_count != covered.scored_count + covered.rejected_count:
        raise RuntimeError(
            f"{covered.image_count} images went in, but {covered.scored_count} were scored and "
            f"{covered.rejected_count} rejected."
        )
    return covered
