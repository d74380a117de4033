"""Which crops images are classified by: the same from a whole pool and from a part of it."""

import math
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from torch import Tensor

from tasks.embed.crop_use import READ_COLUMNS, CropRule, crop_use_rows
from tasks.embed.crops import CropParameters, draw_boxes
from tasks.methods.adaptive import LOOKS, StopRule, Views, order_crops
from tasks.methods.wca import draw_counts
from tasks.runtime.errors import InputError
from tasks.score.predict import CropsInUse, predict
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tests.methods import reference

PARAMETERS = CropParameters(pool=40)
IMAGES, CLASSES, DIM, SCALE = 30, 5, 16, 3.0
SIZE = (320, 240)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Images whose crops resemble the whole by what they cover, and classes between them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self.classes = unit(rng.normal(size=(CLASSES, DIM)))
        centre = rng.normal(size=DIM)
        batches = []
        for i in range(IMAGES):
            digest = f"image {i:02}"
            boxes = draw_boxes(PARAMETERS, digest, *SIZE)
            factor = np.linalg.cholesky(Views.place(np.array(boxes), *SIZE).covariance)
            views = unit(3 * centre + factor @ rng.normal(size=(41, DIM)))
            *edges, flips = zip(*boxes, strict=True)
            columns = [
                pa.array([digest] * 41),
                pa.array(range(41), pa.int32()),
                *(pa.array([None, *values], pa.int32()) for values in edges),
                pa.array([None, *flips]),
                *(pa.array([value] * 41, pa.int32()) for value in SIZE),
                pa.array(views @ views[0]),
                embedding_array(views),
            ]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=schema("crops", DIM)))
        self.crops = pa.Table.from_batches(batches)

    def use(
        self, crops: pa.Table | None = None, rows: int = 50, count: int | None = None
    ) -> pa.Table:
        """The rows of `crop_use` of some rows of `crops`, read so many at a time."""
        given = (self.crops if crops is None else crops).select(READ_COLUMNS)
        rule = CropRule(SCALE, count)
        if count is None:
            rule = CropRule(SCALE, stop=StopRule(self.classes, SCALE, 0.95))
        batches = given.combine_chunks().to_batches(max_chunksize=rows)
        made = crop_use_rows(batches, PARAMETERS, rule, is_square=True)
        return pa.Table.from_batches(made, schema("crop_use"))

    def predictions(self, crops: pa.Table, used: Iterable[pa.Table]) -> list[dict[str, object]]:
        methods = ["wca_adaptive", "mean_adaptive"] + ["wca"] * (crops.num_rows == 41 * IMAGES)
        rows = [
            pa.array([name for name in methods for _ in range(CLASSES)]),
            pa.array([*range(CLASSES)] * len(methods), pa.int32()),
            embedding_array(np.tile(self.classes, (len(methods), 1))),
        ]
        vectors = pa.Table.from_arrays(rows, schema=schema("class_vectors", DIM))
        counts = draw_counts(40, 40, 0, 0)
        chosen = CropsInUse.from_rows(used)
        batches = predict(crops.to_batches(), vectors, counts, SCALE, chosen=chosen)
        return pa.Table.from_batches(batches).to_pylist()


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def used(world: World) -> pa.Table:
    return world.use()


def keep_used(crops: pa.Table, used: pa.Table) -> pa.Table:
    """The rows of the wholes, and of the crops that are in use."""
    pairs = zip(used["image_digest"].to_pylist(), used["crop_indices"].to_pylist(), strict=True)
    kept = {digest: {0, *indices} for digest, indices in pairs}
    rows = zip(crops["image_digest"].to_pylist(), crops["crop_index"].to_pylist(), strict=True)
    return crops.filter(pa.array([index in kept[digest] for digest, index in rows]))


def test_each_image_stops_at_the_first_look_that_settles_it(world: World, used: pa.Table) -> None:
    counts = used["crop_count"].to_pylist()
    assert len(set(counts)) > 2  # else the rest would show little
    for row in used.to_pylist():
        own = world.crops.filter(pc.field("image_digest") == row["image_digest"])
        embeddings = np.stack(own["embedding"].to_pylist())
        boxes = np.array(draw_boxes(PARAMETERS, row["image_digest"], *SIZE))
        order = order_crops(boxes, *SIZE)
        views = Views.place(boxes[np.array(order) - 1], *SIZE)
        rule = StopRule(world.classes, SCALE, 0.95)
        for look in (*(look for look in LOOKS if look < 40), 40):
            decision = rule.decide(views, embeddings[0], embeddings[order[:look]])
            if decision.reason:
                break
        assert row["crop_indices"] == order[: row["crop_count"]] == order[:look]
        assert row["stop_reason"] == decision.reason
        assert (row["agreement"], row["pool"]) == (0.95, 40)
        weights = reference.weights(
            [embeddings[i].tolist() for i in row["crop_indices"]], embeddings[0].tolist(), SCALE
        )
        assert row["effective_count"] == pytest.approx(1 / sum(w * w for w in weights), rel=1e-4)
        assert row["weight_seen"] == pytest.approx(decision.weight_seen)
        assert (row["margin"] == math.inf) == (look == 40)


def test_a_part_of_the_pool_gives_the_rows_of_the_whole(world: World, used: pa.Table) -> None:
    part = keep_used(world.crops, used)
    assert part.num_rows < 0.8 * world.crops.num_rows
    assert world.use(part).equals(used)
    found = world.predictions(world.crops, [used])
    adaptive = [row for row in found if row["method"] != "wca"]
    assert world.predictions(part, [used]) == adaptive
    best = {
        method: [r["class_id"] for r in found if r["method"] == method and r["rank"] == 1]
        for method in ("wca", "wca_adaptive")
    }
    same = np.mean(np.equal(best["wca"], best["wca_adaptive"]))
    assert same >= 0.95


def test_rows_depend_on_no_block_and_no_other_image(world: World, used: pa.Table) -> None:
    assert world.use(rows=7).equals(used)
    order = np.random.default_rng(0).permutation(IMAGES)
    shuffled = pa.concat_tables([world.crops.slice(41 * i, 41) for i in order])
    assert world.use(shuffled).equals(used.take(pa.array(order)))
    alone = world.crops.slice(41 * 3, 41)
    assert world.use(alone).equals(used.slice(3, 1))
    # scores as well: of one image among others, and by itself
    expected = [
        r for r in world.predictions(world.crops, [used]) if r["image_digest"] == "image 03"
    ]
    found = world.predictions(alone, [used.slice(3, 1)])
    assert found == [row for row in expected if row["method"] != "wca"]


def test_a_fixed_number_takes_the_first_of_the_order(world: World, used: pa.Table) -> None:
    fixed = world.use(count=9)
    for row, adaptive in zip(fixed.to_pylist(), used.to_pylist(), strict=True):
        assert row["crop_indices"][:7] == adaptive["crop_indices"][:7]
        assert (row["crop_count"], row["stop_reason"], row["agreement"]) == (9, "count", None)
    # in place of draws: WCA over these crops alone
    rows = world.predictions(world.crops, [fixed, used])
    scores = {(r["image_digest"], r["class_id"]): r["score"] for r in rows if r["method"] == "wca"}
    for row in fixed.to_pylist()[:5]:
        own = world.crops.filter(pc.field("image_digest") == row["image_digest"])
        views = [[float(x) for x in view] for view in own["embedding"].to_pylist()]
        crops = [views[i] for i in row["crop_indices"]]
        weights = reference.weights(crops, views[0], SCALE)
        vector = reference.unit(reference.weighted_sum(weights, crops))
        for c, text in enumerate(world.classes.tolist()):
            expected = reference.dot(vector, text)
            assert scores[row["image_digest"], c] == pytest.approx(expected, abs=1e-5)


def test_a_crop_that_is_needed_and_not_embedded_is_an_error(world: World, used: pa.Table) -> None:
    row = used.to_pylist()[0]
    last = row["crop_indices"][-1]
    is_last = pc.and_(
        pc.equal(world.crops["image_digest"], row["image_digest"]),
        pc.equal(world.crops["crop_index"], last),
    )
    with pytest.raises(InputError, match=f"lacks crop {last} of its pool: embed all with"):
        world.use(world.crops.filter(pc.invert(is_last)))
    with pytest.raises(InputError, match="Some images lack crops of the pool, which wca need"):
        vectors = [used]
        part = keep_used(world.crops, used)
        _ = [*predict_whole(world, part, vectors)]


def predict_whole(
    world: World, crops: pa.Table, used: Iterable[pa.Table]
) -> Iterable[pa.RecordBatch]:
    """Score `wca`, which takes the whole pool."""
    rows = [pa.array(["wca"] * CLASSES), pa.array([*range(CLASSES)], pa.int32())]
    columns = [*rows, embedding_array(world.classes)]
    vectors = pa.Table.from_arrays(columns, schema=schema("class_vectors", DIM))
    counts: Tensor = draw_counts(40, 40, 0, 0)
    return predict(crops.to_batches(), vectors, counts, SCALE, chosen=CropsInUse.from_rows(used))
