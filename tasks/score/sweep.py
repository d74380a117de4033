"""Accuracy against parameters, one changed at a time, with halves for an honest selection."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks.methods.registry import METHODS, OVER_WHOLE_POOL
from tasks.methods.wca import draw_counts
from tasks.score.intervals import Floats
from tasks.score.paired import compare_hits
from tasks.score.queries import open_tables, run_query
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

Row = dict[str, Any]
# Of a parameter whose points are compared with the base of the one without this ending.
BY_WEIGHT = "_by_weight"


class CropCost(BaseModel):
    """What decides how many crops of an image a run looks at.

    pool, crops_per_run, runs, seed: as of the draws. crop_uses: the `crop_use` tables of a point
    whose images have crops of their own.
    """

    model_config = ConfigDict(frozen=True)

    pool: int
    crops_per_run: int
    runs: int
    seed: int
    crop_uses: tuple[TableRef, ...] = ()

    def count_encodings(self, store: Store) -> float:
        """Count the encodings of an image in one run, with the whole; a mean over images or runs.

        A crop that a run draws twice is encoded once.
        """
        if self.crop_uses:
            counts = store.read_all(self.crop_uses)["crop_count"].to_numpy()
            return 1 + float(counts.mean()) if len(counts) else 1.0
        counts = draw_counts(self.pool, self.crops_per_run, self.runs, self.seed).numpy()
        return 1 + float((counts > 0).sum(axis=1).mean())


class SweepPoint(BaseModel):
    """One value of one parameter, and the `predictions` made with it.

    whole_pool: those of the methods over the whole pool, where agreement with it is measured.
    """

    model_config = ConfigDict(frozen=True)

    parameter: str
    value: str
    value_index: int
    is_base: bool
    predictions: tuple[TableRef, ...]
    cost: CropCost
    whole_pool: tuple[TableRef, ...] = ()


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
    rows = [
        row
        for p in points
        for row in _point_rows(store, images, p, bases.get(p.parameter.removesuffix(BY_WEIGHT)))
    ]
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
    agreements = _measure_agreement(store, point)
    encodings = point.cost.count_encodings(store)
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]))
    own = _point_hits(store, images, point) if base and not point.is_base else {}
    facts = point.model_dump(include={"parameter", "value", "value_index", "is_base"})
    made = []
    for row in rows:
        method, split = row["method"], row["split"]
        rival = base and own and base.get(OVER_WHOLE_POOL.get(method, method))
        made.append(
            {
                **facts,
                **row,
                "encodings": encodings if METHODS[method].needs_crops else 1.0,
                **agreements.get((method, split), {}),
                **(_compare_with_base(rival, own[method], split) if rival else {}),
            }
        )
    return made


def _measure_agreement(store: Store, point: SweepPoint) -> dict[tuple[str, str], Row]:
    """Measure by method and split on how many images the class is that of the whole pool."""
    if not point.whole_pool:
        return {}
    inputs = {"predictions": point.predictions, "whole_pool": point.whole_pool}
    with open_tables(store, inputs) as connection:
        rows = run_query(connection, "sweep_agreement").to_pylist()
    names = ("agreement", "agreement_low", "agreement_high")
    return {(r["method"], r["split"]): {name: r[name] for name in names} for r in rows}


def _compare_with_base(base: PointHits, own: PointHits, split: str) -> Row:
    is_used = np.full(len(own.hits), True)
    if split != "all":
        is_used = own.is_selection == (split == "selection")
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
