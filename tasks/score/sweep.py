"""Accuracy against parameters, one changed at a time, with halves for an honest selection."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks.methods.registry import METHODS
from tasks.score.intervals import Floats
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


class PointHits(NamedTuple):
    """In how many of its runs a method is right on each image, by the order of images."""

    hits: Floats
    is_selection: NDArray[np.bool_]
    run_count: int


def sweep_table(store: Store, images: TableRef, points: tuple[SweepPoint, ...]) -> pa.Table:
    """Compute the `sweeps` rows: points in their order, methods in the order of the table.

    Each row is compared with the parameter's base value on the images of the same split. The value
    that is best on `selection` is selected; of equal ones the base, else the first.
    """
    bases = {p.parameter: _point_hits(store, images, p) for p in points if p.is_base}
    rows = [row for p in points for row in _point_rows(store, images, p, bases.get(p.parameter))]
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["parameter"], row["method"])
        rank = (row["top1"], row["is_base"])
        if row["split"] == "selection" and (
            key not in best or rank > (best[key]["top1"], best[key]["is_base"])
        ):
            best[key] = row
    for row in rows:
        chosen = best.get((row["parameter"], row["method"]))
        row["is_selected"] = chosen is not None and row["value"] == chosen["value"]
    return pa.Table.from_pylist(rows, schema("sweeps"))


def _point_rows(
    store: Store, images: TableRef, point: SweepPoint, base: dict[str, PointHits] | None
) -> list[Row]:
    with _open_point(store, images, point) as connection:
        rows = run_query(connection, "sweep").to_pylist()
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]))
    own = _point_hits(store, images, point) if base and not point.is_base else {}
    facts = point.model_dump(exclude={"predictions"})
    compared = [
        _compare_with_base(base[row["method"]], own[row["method"]], row["split"])
        if base and own
        else {}
        for row in rows
    ]
    return [{**facts, **row, **more} for row, more in zip(rows, compared, strict=True)]


def _compare_with_base(base: PointHits, own: PointHits, split: str) -> Row:
    is_used = np.full(len(own.hits), True)
    if split != "all":
        is_used = own.is_selection == (split == "selection")
    from tasks.score.paired import compare_hits  # noqa: PLC0415 - imports scipy, half a second

    compared = compare_hits(
        base.hits[is_used], base.run_count, own.hits[is_used], own.run_count
    )._asdict()
    names = ("difference", "difference_low", "difference_high", "p_value")
    return {name: compared[name] for name in names}


def _point_hits(store: Store, images: TableRef, point: SweepPoint) -> dict[str, PointHits]:
    with _open_point(store, images, point) as connection:
        table = run_query(connection, "sweep_hits")
    found = {}
    for name in table["method"].unique().to_pylist():
        own = table.filter(pc.field("method") == name)
        hits, places, runs = (
            own[column].to_numpy() for column in ("hit_count", "is_selection", "run_count")
        )
        found[name] = PointHits(hits.astype(np.float64), places, int(runs[0]))
    return found


def _open_point(
    store: Store, images: TableRef, point: SweepPoint
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return open_tables(store, {"images": [images], "predictions": list(point.predictions)})
