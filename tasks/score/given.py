"""Score embeddings that somebody else has computed: every method's accuracy, without an encoder."""

from collections.abc import Sequence
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.methods.registry import (
    ALL,
    GRID,
    METHODS,
    available_methods,
    choose_methods,
    find_method,
    text_kinds,
)
from tasks.methods.wca import CROPS_PER_RUN, IMAGE_SCALE, RUNS, TEXT_SCALE, draw_counts
from tasks.runtime.errors import InputError
from tasks.score.predict import (
    IMAGE_BLOCK,
    SharedInputs,
    class_vector_rows,
    predict,
    read_class_texts,
)
from tasks.score.statistics import Protocol, statistics_tables
from tasks.score.summarise import summarise
from tasks.store.digest import bytes_digest
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import Store


def score_embeddings(
    images: pa.Table,
    crops: pa.Table,
    texts: pa.Table,
    methods: Sequence[str] = (),
    *,
    crops_per_run: int = CROPS_PER_RUN,
    runs: int = RUNS,
    seed: int = 0,
    image_scale: float | None = IMAGE_SCALE,
    text_scale: float | None = TEXT_SCALE,
    logit_scale: float = 100.0,
    logit_bias: float | None = None,
) -> dict[str, pa.Table]:
    """Predict the classes of images from given embeddings, and compute every table of results.

    Embeddings may have any length above 0 and are scaled to length 1; all are in memory at once.

    Parameters
    ----------
    images : Table
        `image_name`, a string of its own for each image; `class_name`, its label or null.
    crops : Table
        `image_name`; `crop_index`, 0 for the whole image and 1 to N for its crops, N the same for
        all images and perhaps 0; `embedding`, a list of numbers.
    texts : Table
        `class_name`; `kind`: `label` for the one label prompt that each class needs, `template`,
        `descriptor`, `waffle`, `description` or `prompted_description`; `embedding`. Classes are
        numbered in the order in which they come first.
    methods : sequence of str
        As `--methods`; by default the usual rows whose texts, and crops, are there.
    crops_per_run, runs, seed, image_scale, text_scale
        As the options of `wca benchmark`; a scale of None: equal weights.
    logit_scale, logit_bias : float, float or None
        The encoder's.

    Returns
    -------
    dict
        `images`, `classes`, `predictions` and the tables of results, by name, with the columns of
        docs/tables.md but for `run_id`. `image_digest` is the SHA-256 of the image's name.

    Raises
    ------
    InputError
        For a missing column or embedding, and for a method that needs more than these tables.

    """
    named, classes, described, embedded = _read_texts(texts)
    listed = _read_images(images, named)
    views = _read_crops(crops, listed)
    pool = views.num_rows // max(listed.num_rows, 1) - 1
    dimension = embedded["embedding"].type.list_size
    if views["embedding"].type.list_size != dimension:
        raise InputError("The embeddings of crops and of texts differ in length.")
    chosen = _choose(methods, set(described["kind"].to_pylist()), pool)
    vectors = pa.Table.from_batches([class_vector_rows(described, embedded, chosen, text_scale)])
    _, own = read_class_texts(described, embedded, text_kinds(chosen))
    shared = SharedInputs(own["label"].embeddings, own, logit_scale, logit_bias, {})
    batches = predict(
        views.to_batches(IMAGE_BLOCK * (1 + pool)),
        vectors,
        draw_counts(pool, crops_per_run, runs if pool else 0, seed),
        image_scale,
        [name for name in chosen if METHODS[name].rule],
        shared,
    )
    with TemporaryDirectory(prefix="wca-") as folder:
        store = Store(folder)
        inputs = {
            name: [store.write(name, bytes_digest(name.encode()), schema(name), rows)]
            for name, rows in (
                ("images", listed.to_batches()),
                ("classes", classes.to_batches()),
                ("predictions", batches),
            )
        }
        given = {name: store.read_all(refs) for name, refs in inputs.items()}
        protocol = Protocol(pool, crops_per_run)
        statistics = statistics_tables(
            store, inputs, seed, protocol, logit_scale, logit_bias, chosen
        )
        return {**given, **summarise(store, {**inputs, "undecodable": []}), **statistics}


def _read_texts(texts: pa.Table) -> tuple[dict[str, int], pa.Table, pa.Table, pa.Table]:
    """The number of each class, and the rows of `classes`, `descriptions`, `text_embeddings`."""
    _require_columns(texts, "texts", "class_name", "kind", "embedding")
    names, kinds = texts["class_name"].to_pylist(), texts["kind"].to_pylist()
    ids = {name: i for i, name in enumerate(dict.fromkeys(names))}
    order = sorted(range(len(names)), key=lambda row: (ids[names[row]], kinds[row]))
    rows = []
    counts: dict[tuple[int, str], int] = {}
    for row in order:
        key = ids[names[row]], kinds[row]
        position = counts.get(key, 0)
        counts[key] = position + 1
        rows.append(
            {"class_id": key[0], "class_name": names[row], "kind": key[1], "position": position,
             "text": f"{key[0]} {key[1]} {position}"}
        )  # fmt: skip
    for kind in ("label", *sorted(set(kinds))):
        if lacking := [name for name, i in ids.items() if (i, kind) not in counts]:
            raise InputError(f"The class {lacking[0]!r} has no text of the kind {kind!r}.")
    if many := [name for name, i in ids.items() if counts[i, "label"] > 1]:
        raise InputError(f"The class {many[0]!r} has several texts of the kind 'label', not one.")
    matrix = _read_embeddings(texts.take(order), "texts")
    described = pa.Table.from_pylist(rows, schema("descriptions"))
    columns = [described["text"], pa.repeat(False, len(rows)), embedding_array(matrix)]
    embedded = pa.table(columns, schema=schema("text_embeddings", matrix.shape[1]))
    listed = [{"class_id": i, "class_name": name} for name, i in ids.items()]
    return ids, pa.Table.from_pylist(listed, schema("classes")), described, embedded


def _read_images(images: pa.Table, ids: dict[str, int]) -> pa.Table:
    """The rows of `images`, in their order."""
    _require_columns(images, "images", "image_name", "class_name")
    names, labels = images["image_name"].to_pylist(), images["class_name"].to_pylist()
    if len(set(names)) < len(names):
        raise InputError("An image_name comes twice among the images.")
    if unknown := {label for label in labels if label is not None} - ids.keys():
        raise InputError(f"The label {min(unknown)!r} is no class_name of the texts.")
    rows = [
        {"image_id": i, "image_name": name, "image_digest": bytes_digest(name.encode()),
         "class_id": ids.get(label)}
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema("images"))


def _read_crops(crops: pa.Table, images: pa.Table) -> pa.Table:
    """The views of all images, image by image, the whole first."""
    _require_columns(crops, "crops", "image_name", "crop_index", "embedding")
    place = pc.index_in(crops["image_name"], images["image_name"])
    if place.null_count:
        raise InputError("The crops have an image_name that is not among the images.")
    index = crops["crop_index"].cast(pa.int32())
    order = pc.sort_indices(
        pa.table({"image": place, "crop": index}),
        [("image", "ascending"), ("crop", "ascending")],
    )
    place, index = place.take(order).to_numpy(), index.take(order).to_numpy()
    count = len(images)
    views = len(index) // max(count, 1)
    every = np.array([(image, view) for image in range(count) for view in range(views)])
    if not views or not np.array_equal(np.stack([place, index], axis=1), every):
        raise InputError(
            "Each image needs one embedding with crop_index 0 and, as every other image, one for "
            "each of 1 to N."
        )
    matrix = _read_embeddings(crops.take(order), "crops")
    digests = images["image_digest"].combine_chunks().take(pa.array(place))
    return pa.table(
        [digests, pa.array(index), embedding_array(matrix)],
        names=["image_digest", "crop_index", "embedding"],
    )


def _read_embeddings(table: pa.Table, what: str) -> NDArray[np.float32]:
    """The embeddings of a table at length 1: `(rows, dim)`."""
    column = table["embedding"].combine_chunks()
    lengths = set(pc.list_value_length(column).to_pylist())
    if len(lengths) != 1 or lengths & {0, None}:
        raise InputError(f"The embeddings of the {what} are missing or differ in length.")
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    matrix: NDArray[np.float32] = flat.reshape(len(column), -1)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise InputError(f"An embedding of the {what} is zero, or has a value that is no number.")
    matrix /= norms
    return matrix


def _choose(methods: Sequence[str], kinds: set[str], pool: int) -> tuple[str, ...]:
    """The methods to score; InputError for a named one that needs more than embeddings."""
    possible = [
        name
        for name in available_methods(METHODS, kinds)
        if not METHODS[name].is_adaptive
        and (pool or not METHODS[name].needs_crops)
        and not ((rule := METHODS[name].rule) and rule.needs_boxes)
    ]
    chosen = choose_methods(methods, kinds)
    named = {find_method(item).name for item in methods if item not in (ALL, GRID)}
    if lacking := sorted(named - set(possible)):
        raise InputError(
            f"The method {lacking[0]} needs crops with their places, or a choice among them, which "
            "embeddings alone do not have: name other methods."
        )
    return tuple(name for name in chosen if name in possible)


def _require_columns(table: pa.Table, what: str, *names: str) -> None:
    if lacking := [name for name in names if name not in table.column_names]:
        raise InputError(f"The table of {what} has no column {lacking[0]!r}.")
