"""Chooses the images to explain, and reads their embeddings, texts and weights from tables."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tasks.methods.registry import SETTLING, explained_method
from tasks.methods.wca import softmax_weights
from tasks.score import EXPLANATION_TABLES
from tasks.score.explain import ClassTexts, Floats, Views, explain
from tasks.score.queries import open_tables, run_query
from tasks.store.embeddings import embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef


def explanation_tables(
    store: Store,
    inputs: dict[str, list[TableRef]],
    count: int,
    image_scale: float | None,
    text_scale: float | None,
) -> dict[str, pa.Table]:
    """Compute the tables of `EXPLANATION_TABLES` for `count` images, by name.

    What is explained is the prediction with `run_index` 0: by the crops that this run draws, as
    often as it draws them, or by an image's own crops where `crop_use` names them.

    inputs: the stored `images`, `predictions`, `crops`, `draws`, `crop_use`, `class_vectors`,
    `descriptions` and `text_embeddings` of a run that scored `wca`, or else `wca_adaptive`.
    """
    vectors = store.read(inputs["class_vectors"][0])
    method = explained_method(set(vectors["method"].to_pylist()))
    labels = _choose_images(store, inputs, count, method)
    vectors = vectors.filter(pc.field("method") == method)
    classes = embedding_matrix(vectors["embedding"]).astype(np.float64)
    texts = _read_class_texts(store, inputs, text_scale)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in EXPLANATION_TABLES}
    by_digest = {
        views.image_digest: views
        for views in _read_views(
            store,
            inputs["crops"],
            list(labels),
            image_scale,
            _read_draws(store, inputs["draws"]),
            _read_chosen(store, inputs["crop_use"], list(labels), method == SETTLING),
        )
    }
    for digest, label in labels.items():  # in the order in which they were chosen
        explanation = explain(by_digest[digest], classes, texts, label)
        for name in EXPLANATION_TABLES:
            rows[name] += getattr(explanation, name)
    return {name: pa.Table.from_pylist(rows[name], schema(name)) for name in EXPLANATION_TABLES}


def _choose_images(
    store: Store, inputs: dict[str, list[TableRef]], count: int, method: str | None
) -> dict[str, int | None]:
    """Map the digests of the images to explain to their labels, in the order of the page."""
    needed = {name: inputs[name] for name in ("images", "predictions")}
    with open_tables(store, needed) as connection:
        chosen = run_query(connection, "explained_images", count=count, method=method)
    return dict(zip(*(column.to_pylist() for column in chosen.columns), strict=True))


def _read_class_texts(
    store: Store, inputs: dict[str, list[TableRef]], text_scale: float | None
) -> dict[int, ClassTexts]:
    """Read each class's descriptions and weigh them."""
    embedded = store.read_all(inputs["text_embeddings"])
    matrix = embedding_matrix(embedded["embedding"]).astype(np.float64)
    row_of = {text: i for i, text in enumerate(embedded["text"].to_pylist())}
    labels: dict[int, Floats] = {}
    places: dict[int, list[tuple[int, int]]] = {}  # class to position and row of each text
    for row in store.read(inputs["descriptions"][0]).to_pylist():
        if row["kind"] == "label":
            labels[row["class_id"]] = matrix[row_of[row["text"]]]
        elif row["kind"] == "description":
            place = (row["position"], row_of[row["text"]])
            places.setdefault(row["class_id"], []).append(place)
    texts = {}
    for class_id, own in places.items():
        embeddings = matrix[[i for _, i in own]]
        weights = _softmax(embeddings @ labels[class_id], text_scale)
        texts[class_id] = ClassTexts(class_id, [p for p, _ in own], embeddings, weights)
    return texts


def _read_draws(store: Store, tables: list[TableRef]) -> dict[int, int]:
    """Read how often the first run draws each crop; without draws it takes each crop once."""
    rows = (row for table in map(store.read, tables) for row in table.to_pylist())
    return {row["crop_index"]: row["draw_count"] for row in rows if row["run_index"] == 0}


def _read_chosen(
    store: Store, shards: list[TableRef], digests: list[str], is_settled: bool
) -> dict[str, list[int]]:
    """Read which crops some images are classified by; an image without is classified by all."""
    chosen = {}
    for table in map(store.read, shards):
        for row in table.filter(pc.field("image_digest").isin(digests)).to_pylist():
            if is_settled == (row["agreement"] is not None):
                chosen[row["image_digest"]] = row["crop_indices"]
    return chosen


def _read_views(
    store: Store,
    shards: list[TableRef],
    digests: list[str],
    image_scale: float | None,
    draws: dict[int, int],
    chosen: dict[str, list[int]],
) -> Iterator[Views]:
    """Read the views of some images, of their crops the chosen or drawn ones, and weigh these."""
    rows = store.dataset(shards).to_table(
        columns=["image_digest", "crop_index", "embedding"],
        filter=pc.field("image_digest").isin(pa.array(digests, pa.string())),
        batch_readahead=1,  # by default sixteen row groups of four files: a gigabyte
        fragment_readahead=1,
    )
    rows = rows.sort_by([("image_digest", "ascending"), ("crop_index", "ascending")])
    matrix = embedding_matrix(rows["embedding"]).astype(np.float64)
    crop_index = rows["crop_index"].to_numpy()
    digest_column = np.array(rows["image_digest"].to_pylist())
    for digest in dict.fromkeys(digest_column.tolist()):
        is_own = digest_column == digest
        indices = crop_index[is_own]
        if digest in chosen:
            counts = np.isin(indices, chosen[digest]).astype(float)
        else:
            counts = np.array([draws.get(i, 1.0) if i else 0.0 for i in indices.tolist()])
        used = counts > 0
        whole, crops = matrix[is_own][0], matrix[is_own][used]
        weights = _softmax(crops @ whole, image_scale, counts[used])
        yield Views(digest, whole, crops, weights, indices[used].tolist())


def _softmax(similarity: Floats, scale: float | None, counts: Floats | None = None) -> Floats:
    """Compute the weights with which images are scored; counts: how often each crop is taken."""
    drawn = None if counts is None else torch.from_numpy(counts)
    weights: Floats = softmax_weights(torch.from_numpy(similarity), scale, drawn).numpy()
    return weights
