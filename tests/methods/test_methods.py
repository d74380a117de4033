"""Every score of the product against nested loops, SQL and the definition of a tie."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.nn.functional import normalize

from tasks.methods.bifta import refine_texts
from tasks.methods.products import compute_scores, find_repeats
from tasks.methods.registry import METHODS, PAIRS, text_kinds
from tasks.methods.wca import draw_counts, softmax_weights, wca_score
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import (
    SharedInputs,
    class_vector_rows,
    predict,
    read_class_texts,
    top_classes,
)
from tasks.store.embeddings import embedding_array, embedding_matrix, embedding_type
from tasks.store.schemas import schema
from tasks.store.tables import Store
from tests.methods import reference, reference_rules

KINDS = ("label", "template", "descriptor", "waffle", "description", "prompted_description")
LOGIT_SCALE = 20.0
scales = st.one_of(st.none(), st.floats(-1, 5))


def unit_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return unit(rng.normal(size=shape))


def unit(rows: np.ndarray) -> np.ndarray:
    return normalize(torch.from_numpy(rows).float(), dim=-1).numpy()


def run_method(
    case: "Case", method: str, counts: torch.Tensor, image: float | None, text: float | None
) -> list[dict[str, Any]]:
    """Predictions of one method, as a run of this method alone makes them."""
    return predictions(case, [method], case.crops().to_batches(), counts, image, text).to_pylist()


def predictions(
    case: "Case",
    methods: list[str],
    batches: Iterable[pa.RecordBatch],
    counts: torch.Tensor,
    image: float | None = 4.0,
    text: float | None = 2.0,
) -> pa.Table:
    """Predictions of some methods, and so of an encoder with LOGIT_SCALE."""
    kinds = text_kinds(methods)
    described, embedded = case.descriptions(), case.text_embeddings(kinds)
    vectors = class_vector_rows(described, embedded, methods, text)
    _, texts = read_class_texts(described, embedded, kinds)
    shared = SharedInputs(texts["label"].embeddings, texts, LOGIT_SCALE, None, {})
    rules = [name for name in methods if METHODS[name].rule]
    return pa.Table.from_batches(
        predict(batches, pa.Table.from_batches([vectors]), counts, image, rules, shared)
    )


class Case:
    """Random embeddings of a few images and classes, with a ragged number of descriptions."""

    def __init__(self, seed: int, images: int, pool: int, classes: int, dim: int) -> None:
        rng = np.random.default_rng(seed)
        self.views = unit_rows(rng, images, 1 + pool, dim)
        self.texts: dict[tuple[int, str], np.ndarray] = {}
        for class_id in range(classes):
            for kind in KINDS:
                count = 1 if kind == "label" else int(rng.integers(1, 5))
                rows = unit_rows(rng, count, dim)
                if kind == "description":  # some that nearly say the same
                    alike = rows[rng.integers(0, count, 3)] + rng.normal(0, 0.02, (3, dim))
                    rows = np.concatenate([rows, unit(alike)])
                self.texts[class_id, kind] = rows
        self.pool, self.dim = pool, dim

    def crops(self) -> pa.Table:
        count, views, dim = self.views.shape
        rows = {
            "image_digest": np.repeat([f"image {i}" for i in range(count)], views),
            "crop_index": np.tile(np.arange(views), count),
            **dict.fromkeys(
                ("left_px", "top_px", "width_px", "height_px", "is_flipped"),
                np.zeros(count * views, int),
            ),
            **dict.fromkeys(("image_width_px", "image_height_px"), np.zeros(count * views, int)),
            "whole_similarity": np.zeros(count * views),
        }
        columns = [pa.array(values) for values in rows.values()]
        table = pa.table([*columns, embedding_array(self.views.reshape(-1, dim))], [*rows, "e"])
        return table.rename_columns(schema("crops").names).cast(schema("crops", dim))

    def descriptions(self) -> pa.Table:
        rows = [
            {"class_id": c, "class_name": f"class {c}", "kind": k, "position": j,
             "text": f"{k} {j} of {c}"}
            for (c, k), matrix in self.texts.items()
            for j in range(len(matrix))
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema("descriptions"))

    def text_embeddings(self, kinds: set[str]) -> pa.Table:
        chosen = {key: matrix for key, matrix in self.texts.items() if key[1] in kinds}
        names = [f"{kind} {j} of {c}" for (c, kind), m in chosen.items() for j in range(len(m))]
        return pa.table(
            [
                pa.array(names),
                pa.array([False] * len(names)),
                embedding_array(np.concatenate(list(chosen.values()))),
            ],
            schema=schema("text_embeddings", self.dim),
        )

    def scores(
        self, method: str, counts: torch.Tensor, image: float | None, text: float | None
    ) -> Iterator[tuple[int, int, int, float]]:
        """(image, run, class, score) by the code under test, read back from its own rows."""
        for row in run_method(self, method, counts, image, text):
            image_index = int(row["image_digest"].split()[1])
            yield image_index, row["run_index"], row["class_id"], row["score"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(1, 3),
    pool=st.integers(1, 6),
    classes=st.integers(1, 5),
    dim=st.integers(2, 9),
    runs=st.integers(0, 3),
    image=scales,
    text=scales,
    method=st.sampled_from(sorted(pair.name for pair in PAIRS)),
)
@example(  # whose mode takes logits of float64
    seed=124323, images=2, pool=4, classes=2, dim=6, runs=0, image=None, text=None,
    method="mode.descriptions",
)  # fmt: skip
def test_scores_equal_nested_loops(seed, images, pool, classes, dim, runs, image, text, method):
    case = Case(seed, images, pool, classes, dim)
    counts = draw_counts(pool, 4, runs, seed)
    found = list(case.scores(method, counts, image, text))
    row = METHODS[method]
    assert len(found) == images * classes * (len(counts) if row.has_draws else 1)
    labels = [case.texts[c, "label"][0].tolist() for c in range(classes)]
    if row.rule:
        own = [case.texts[c, row.text_kind].tolist() for c in range(classes)]
        rule = reference_rules.RULES[method]
        expected = [rule(views, labels, own, LOGIT_SCALE) for views in case.views.tolist()]
        for i, _, c, score in found:
            assert score == pytest.approx(expected[i][c], rel=1e-5, abs=1e-5)
        return
    for i, run, c, score in found:
        drawn = [crop for crop, n in enumerate(counts[run]) for _ in range(int(n))]
        label = labels[c]
        if row.image_side.needs_labels:
            vector = reference_rules.mta_mode(case.views[i].tolist(), labels, LOGIT_SCALE)
        else:
            vector = reference.IMAGE_SIDES[row.image_side.name](
                case.views[i, 0].tolist(), [case.views[i, 1 + d].tolist() for d in drawn], image
            )
        expected = reference.dot(
            reference.unit(vector) if row.text_side.is_normalised else vector,
            reference.TEXT_SIDES[row.text_side.name](
                label, case.texts[c, row.text_kind].tolist(), text
            ),
        )
        # float32 cosines are off by 1e-7, which the scale of the crops' weights multiplies
        scale = math.exp(image) if row.has_draws and image is not None else 0.0
        assert score == pytest.approx(expected, abs=1e-6 + 1e-7 * scale)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    pool=st.integers(1, 6),
    image=scales,
    text=scales,
    is_normalised=st.booleans(),
)
def test_the_formula_equals_nested_loops(seed, pool, image, text, is_normalised):
    case = Case(seed, images=3, pool=pool, classes=1, dim=7)
    label, texts = case.texts[0, "label"][0], case.texts[0, "description"]
    scores = wca_score(
        torch.from_numpy(case.views[:, 0]),
        torch.from_numpy(case.views[:, 1:]),
        torch.from_numpy(label),
        torch.from_numpy(texts),
        image,
        text,
        is_normalised=is_normalised,
    )
    expected = [
        reference.wca(
            views[0].tolist(), views[1:].tolist(), label.tolist(), texts.tolist(),
            image, text, is_normalised,
        )
        for views in case.views
    ]  # fmt: skip
    assert scores.tolist() == pytest.approx(expected, abs=1e-9)


def test_scores_equal_the_formula_in_sql() -> None:
    case = Case(seed=1, images=3, pool=5, classes=4, dim=8)
    query = Path(__file__).with_name("wca.sql").read_text()
    with duckdb.connect() as connection:
        connection.register("crops", case.crops())
        connection.register("descriptions", case.descriptions())
        connection.register("text_embeddings", case.text_embeddings({"label", "description"}))
        parameters = {"image_scale": 4.0, "text_scale": 2.0}
        rows = connection.execute(query, parameters).fetchall()
    expected = {(int(digest.split()[1]), c): score for digest, c, score in rows}
    found = case.scores("wca_paper", draw_counts(5, 5, 0, 0), 4.0, 2.0)
    assert {(i, c): s for i, _, c, s in found} == pytest.approx(expected, abs=1e-6)


def test_draws_are_with_replacement_from_the_pool_and_seeded() -> None:
    counts = draw_counts(pool=10, crops=60, runs=20, seed=0)
    assert counts.shape == (20, 10)
    assert counts.sum(dim=1).tolist() == [60] * 20
    assert counts.max() > 6
    assert torch.equal(counts, draw_counts(10, 60, 20, 0))
    assert not torch.equal(counts, draw_counts(10, 60, 20, 1))
    # the third of five runs is the third of three: more runs add to those there are
    assert torch.equal(draw_counts(10, 60, 5, 0)[:3], draw_counts(10, 60, 3, 0))


def test_draws_follow_from_sha256_alone() -> None:
    # stored tables and published numbers rest on these: derived here without the project's code
    counts = draw_counts(pool=7, crops=9, runs=3, seed=5)
    for run, row in enumerate(counts.tolist()):
        drawn = []
        for block in range(3):  # four numbers each
            hashed = hashlib.sha256(f"draw/5/{run}/{block}".encode()).digest()
            words = (int.from_bytes(hashed[i : i + 8], "big") >> 11 for i in range(0, 32, 8))
            drawn += [7 * word // 2**53 for word in words]
        assert row == [drawn[:9].count(crop) for crop in range(7)]


def test_every_crop_of_the_pool_is_as_likely() -> None:
    counts = draw_counts(pool=10, crops=60, runs=200, seed=0).sum(dim=0)
    assert chisquare(counts.tolist()).pvalue > 0.01


def test_weights_survive_extreme_scales() -> None:
    similarity = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    counts = torch.tensor([0.0, 3.0, 1.0], dtype=torch.float64)
    weights = softmax_weights(similarity, 20.0, counts)
    assert weights.tolist() == [0.0, 0.0, 1.0]
    assert softmax_weights(similarity, None, counts).tolist() == [0.0, 0.75, 0.25]


def test_equal_classes_tie_and_the_lower_index_wins() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(unit_rows(rng, 50, 64))
    distinct = torch.from_numpy(unit_rows(rng, 40, 64))
    classes = torch.cat([distinct, distinct.flip(0)])  # class 79 - c is class c again
    repeats = find_repeats(classes)
    assert repeats.later.tolist() == list(range(40, 80))
    assert torch.equal(classes[repeats.later], classes[repeats.first])
    assert find_repeats(torch.tensor([[0.0, 1.0], [-0.0, 1.0]])).later.tolist() == [1]
    scores = compute_scores(images, classes, repeats)
    assert torch.equal(scores, scores.flip(1))
    values, best = top_classes(scores, 4)
    assert (best[:, 0] < 40).all()
    assert torch.equal(best[:, 1], 79 - best[:, 0])
    assert torch.equal(values[:, 0], values[:, 1])


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=7, max_size=7), min_size=1, max_size=6),
    st.integers(1, 9),
)
def test_top_classes_equal_a_sort(rows: list[list[int]], k: int) -> None:
    values, best = top_classes(torch.tensor(rows).float(), k)
    for row, top, classes in zip(rows, values.tolist(), best.tolist(), strict=True):
        order = sorted(range(7), key=lambda c: (-row[c], c))[:k]
        assert classes == order
        assert top == [row[c] for c in order]


def test_refinement_keeps_one_of_texts_that_are_alike() -> None:
    def at(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    label = torch.tensor(at(0))
    # cos 8 degrees is 0.9903, cos 9 degrees 0.9877
    texts = torch.tensor([at(30), at(10), at(18), at(19), at(10)])
    assert torch.equal(refine_texts(label, texts), texts[[1, 3, 0]].double())
    many = normalize(torch.randn(80, 40, generator=torch.Generator().manual_seed(0)), dim=1)
    order = (many @ many[0]).argsort(descending=True)
    assert torch.equal(refine_texts(many[0], many), many[order[:50]].double())


def test_a_description_that_is_there_twice_counts_twice_unless_it_is_refined() -> None:
    case = Case(seed=5, images=1, pool=1, classes=1, dim=6)
    rows = case.descriptions()
    (first,) = [
        i for i, text in enumerate(rows["text"].to_pylist()) if text == "description 0 of 0"
    ]
    twice = pa.concat_tables([rows, rows.slice(first, 1)])
    embedded = case.text_embeddings({"label", "description"})

    def vectors(descriptions: pa.Table) -> list[list[float]]:
        methods = ["cupl", "wca_paper", "wca_refined"]
        made = class_vector_rows(descriptions, embedded, methods, 2.0)
        found: list[list[float]] = made["embedding"].to_pylist()
        return found

    texts, label = case.texts[0, "description"].tolist(), case.texts[0, "label"][0].tolist()
    texts.append(texts[0])
    weights = reference.weights(texts, label, 2.0)
    total = [
        math.fsum(v * x for v, x in zip(weights, c, strict=True)) for c in zip(*texts, strict=True)
    ]
    mean, weighted, refined_sum = vectors(twice)
    assert mean == pytest.approx(reference.mean_direction(texts), abs=1e-6)
    assert weighted == pytest.approx(total, abs=1e-6)
    assert refined_sum == vectors(rows)[2]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_images_do_not_decide_how_a_score_is_rounded(tmp_path: Path, precision: str) -> None:
    case = Case(seed=2, images=67, pool=7, classes=30, dim=512)
    store = Store(tmp_path)
    columns = schema("crops", case.dim, precision)
    crops = store.write("crops", "0" * 64, columns, case.crops().to_batches(max_chunksize=8))
    counts = draw_counts(7, 5, 3, 0)
    # of an adaptive method other tables say which crops count
    methods = {name: method for name, method in METHODS.items() if not method.is_adaptive}
    tables = [
        predictions(
            case, list(methods), store.read_blocks(crops, list(VIEW_COLUMNS), n * 8), counts
        )
        for n in (64, 1, 15)
    ]
    # rows come by image, then in the order of methods, whatever the block
    rows = sum(3 if method.has_draws else 1 for method in methods.values())
    assert tables[0].num_rows == 67 * rows * 5
    assert tables[0]["method"].unique().to_pylist() == list(methods)
    assert all(table == tables[0] for table in tables[1:])


def test_half_precision_moves_scores_by_its_rounding_alone(tmp_path: Path) -> None:
    case = Case(seed=3, images=5, pool=6, classes=4, dim=32)
    store = Store(tmp_path)
    texts = case.text_embeddings({"label", "description"})
    vectors = pa.Table.from_batches([class_vector_rows(case.descriptions(), texts, ["wca"], 2.0)])
    counts = draw_counts(6, 4, 2, 0)
    found = []
    for precision in ("fp32", "fp16"):
        columns = schema("crops", case.dim, precision)
        ref = store.write("crops", precision, columns, case.crops().to_batches())
        blocks = store.read_blocks(ref, list(VIEW_COLUMNS), 7)
        rows = pa.Table.from_batches(predict(blocks, vectors, counts, 4.0)).to_pylist()
        keys = ("image_digest", "run_index", "class_id")
        found.append({tuple(row[k] for k in keys): row["score"] for row in rows})
    exact, half = found
    assert half != exact
    # a unit vector's values are off by 2^-12 of themselves at most, the weights by e^4 times that
    assert half == pytest.approx(exact, abs=5e-3)


def test_embedding_columns_read_back_even_in_slices() -> None:
    matrix = np.arange(40, dtype=np.float32).reshape(10, 4)
    table = pa.table({"embedding": embedding_array(matrix)})
    table = pa.concat_tables([table, table])
    assert np.array_equal(
        embedding_matrix(table.slice(5, 7)["embedding"]), np.r_[matrix, matrix][5:12]
    )
    half = table.cast(pa.schema([("embedding", embedding_type(4, is_half=True))]))
    read = embedding_matrix(half.slice(5, 7)["embedding"])
    assert read.dtype == np.float32
    assert np.array_equal(read, np.r_[matrix, matrix][5:12])
