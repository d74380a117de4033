"""Accuracy against parameters, one changed at a time, with halves for an honest selection."""

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tasks.methods.registry import METHODS
from tasks.score.queries import open_tables, run_query
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

Row = dict[str, Any]


class SweepPoint(BaseModel):
    """One value of one parameter, and the `predictions` made with it."""

    model_config = ConfigDict(frozen=True)

    parameter: str
    value: str
    value_index: int
    is_base: bool
    predictions: tuple[TableRef, ...]


def sweep_table(store: Store, images: TableRef, points: tuple[SweepPoint, ...]) -> pa.Table:
    """Compute the `sweeps` rows: points in their order, methods in the order of the table."""
    rows = [row for point in points for row in _point_rows(store, images, point)]
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["parameter"], row["method"])
        # the earlier value wins a tie
        if row["split"] == "selection" and row["top1"] > best.get(key, {"top1": -1.0})["top1"]:
            best[key] = row
    for row in rows:
        chosen = best.get((row["parameter"], row["method"]))
        row["is_selected"] = chosen is not None and row["value"] == chosen["value"]
    return pa.Table.from_pylist(rows, schema("sweeps"))


def _point_rows(store: Store, images: TableRef, point: SweepPoint) -> list[Row]:
    inputs = {"images": [images], "predictions": list(point.predictions)}
    with open_tables(store, inputs) as connection:
        rows = run_query(connection, "sweep").to_pylist()
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]))
    return [{**point.model_dump(exclude={"predictions"}), **row} for row in rows]
