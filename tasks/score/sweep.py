"""Accuracy against parameters, one changed at a time, with halves for an honest selection."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import combinations
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
from tasks.score.queries import open_tables, run_query
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

Row = dict[str, Any]
SEED, ENCODER = "seed", "encoder"
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
    """One value of one parameter under one encoder, and the `predictions` made with it.

    encoder_name: empty where no encoder is swept. whole_pool: the predictions over the whole pool,
    where agreement with it is measured.
    """

    model_config = ConfigDict(frozen=True)

    encoder_name: str
    parameter: str
    value: str
    value_index: int
    is_base: bool
    predictions: tuple[TableRef, ...]
    cost: CropCost
    whole_pool: tuple[TableRef, ...] = ()

    @property
    def panel(self) -> tuple[str, str]:
        """The points that it is compared with: of its parameter, and other than encoders its own.

        The parameter whose base it is compared with, and the encoder's name or nothing.
        """
        parameter = self.parameter.removesuffix(BY_WEIGHT)
        return parameter, "" if parameter == ENCODER else self.encoder_name


class PointHits(NamedTuple):
    """In how many of its runs a method is right on each image, by the order of images."""

    hits: Floats
    is_selection: NDArray[np.bool_]
    run_count: int


def sweep_tables(
    store: Store, images: TableRef, points: tuple[SweepPoint, ...]
) -> dict[str, pa.Table]:
    """Compute `sweeps` and `encoder_comparisons`, points in their order, methods in the table's.

    Each row of `sweeps` is compared with the base value of its parameter, under the same encoder,
    on the images of the same split. The value that is best on `selection` is selected; of equal
    ones the base, else the first. A seed is neither compared nor selected, since it is no choice.
    """
    bases = {p.panel: _point_hits(store, images, p) for p in points if p.is_base}
    rows = [
        {**row, "panel": (point.parameter, point.panel)}
        for point in points
        for row in _point_rows(store, images, point, bases.get(point.panel))
    ]
    best: dict[tuple[object, str], Row] = {}
    for row in rows:
        key, rank = (row["panel"], row["method"]), (row["top1"], row["is_base"])
        is_candidate = row["split"] == "selection" and row["parameter"] != SEED
        if is_candidate and (key not in best or rank > (best[key]["top1"], best[key]["is_base"])):
            best[key] = row
    for row in rows:
        chosen = best.get((row.pop("panel"), row["method"]))
        row["is_selected"] = chosen is not None and all(
            row[name] == chosen[name] for name in ("value", "encoder_name")
        )
    return {
        "sweeps": pa.Table.from_pylist(rows, schema("sweeps")),
        "encoder_comparisons": pa.Table.from_pylist(
            _compare_encoders(store, images, [p for p in points if p.parameter == ENCODER]),
            schema("encoder_comparisons"),
        ),
    }


def _point_rows(
    store: Store, images: TableRef, point: SweepPoint, base: dict[str, PointHits] | None
) -> list[Row]:
    with _open_point(store, images, point) as connection:
        rows = run_query(connection, "sweep").to_pylist()
    from tasks.score.statistics import Protocol, estimate_seed_sigma  # noqa: PLC0415 - scipy

    agreements = _measure_agreement(store, point)
    encodings = point.cost.count_encodings(store)
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]))
    is_compared = not point.is_base and point.parameter != SEED
    own = _point_hits(store, images, point) if base and is_compared else {}
    facts = point.model_dump(exclude={"predictions", "cost", "whole_pool"})
    protocol = Protocol(point.cost.pool, point.cost.crops_per_run)
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
                "seed_sigma": estimate_seed_sigma(
                    row["top1_sigma"], row["run_count"], protocol, method
                ),
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


def _compare_encoders(store: Store, images: TableRef, points: Iterable[SweepPoint]) -> list[Row]:
    """Compare every two encoders on all images, method by method; the earlier is the baseline."""
    from tasks.score.comparisons.paired import compare_hits  # noqa: PLC0415 - imports scipy, half a second
    from tasks.score.comparisons.significance import holm  # noqa: PLC0415

    hits = {p.value: _point_hits(store, images, p) for p in points}
    rows: list[Row] = []
    for a, b in combinations(hits, 2):
        for method in (name for name in METHODS if name in hits[a] and name in hits[b]):
            names = {"baseline_encoder": a, "encoder_name": b, "method": method}
            one, other = hits[a][method], hits[b][method]
            compared = compare_hits(one.hits, one.run_count, other.hits, other.run_count)
            rows.append({**names, **compared._asdict()})
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row |= {"p_holm": corrected, "test_count": len(rows)}
    return rows


def _compare_with_base(base: PointHits, own: PointHits, split: str) -> Row:
    is_used = np.full(len(own.hits), True)
    if split != "all":
        is_used = own.is_selection == (split == "selection")
    from tasks.score.comparisons.paired import compare_hits  # noqa: PLC0415 - imports scipy, half a second

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
