"""Explanations of predictions, from the tables: sentences, charts and drawn images."""

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from tasks.report.page import charts, pictures
from tasks.report.page.images import ImageOpener
from tasks.report.page.queries import Row, RunQueries
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

DRAWING_PX, CROP_PX = 330, 72
# With the drawings of twelve images a page stays below 3 MB.
DRAWING_CHARACTERS, CROP_CHARACTERS, CROP_QUALITY = 28_000, 3_500, 70
# Descriptions in a chart: as many as one can compare at a glance.
CHART_TEXTS = 10
# The roles of the two best classes, and the marks of their crops by rank.
CROP_MARKS = {"predicted": "123456", "runner_up": "abcdef"}


class CropTextPair(NamedTuple):
    """A crop and a description, and what the pair adds to the margin of the predicted class."""

    mark: str
    role: str
    class_name: str
    text: str
    similarity: float
    support: float
    crop_uri: str | None


class TitledChart(NamedTuple):
    """A chart and what it shows."""

    title: str
    spec: charts.Spec


class Drawings(NamedTuple):
    """The image under its crop weights, and with the crops that decide; size: of both."""

    heat_map_uri: str
    crops_uri: str
    size: tuple[int, int]


class ExplainedImage(NamedTuple):
    """The explanation of one image.

    shares: the part of the margin that the shown pairs of each class sum to, by role: the pairs of
    either class sum to the whole margin, so those of both must not be added. drawings: None where
    the image is not there any more.
    """

    image_digest: str
    image_name: str
    label: str | None
    predicted: str
    runner_up: str
    sentences: list[str]
    pairs: list[CropTextPair]
    shares: dict[str, float]
    drawings: Drawings | None
    similarity_charts: list[TitledChart]
    weight_chart: TitledChart

    @property
    def is_wrong(self) -> bool:
        """Whether the label is another class."""
        return self.label is not None and self.label != self.predicted


def read_explanations(store: Store, run_id: str, open_image: ImageOpener) -> list[ExplainedImage]:
    """Return the explanations of a run without its page."""
    with open_snapshot(snapshot_path(store), run_id) as connection:
        return list(explained_images(RunQueries(connection, run_id), open_image))


def explained_images(queries: RunQueries, open_image: ImageOpener) -> Iterator[ExplainedImage]:
    """Yield every explained image of the run, in the order of the tables."""
    pairs, texts, removals, weights = (
        _group_by_digest(queries.execute(name).rows)
        for name in ("explained_pairs", "explained_texts", "counterfactuals", "crop_weights")
    )
    for digest, roles in _group_by_digest(queries.execute("explained").rows).items():
        image = open_image(roles[0]["image_name"], digest)
        rows = (groups[digest] for groups in (pairs, texts, removals, weights))
        yield _explain_image({row["role"]: row for row in roles}, *rows, image=image)


def _group_by_digest(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["image_digest"], []).append(row)
    return groups


def _explain_image(
    roles: dict[str, Row],
    pairs: list[Row],
    texts: list[Row],
    removals: list[Row],
    weights: list[Row],
    *,
    image: Image.Image | None,
) -> ExplainedImage:
    predicted, runner_up = roles["predicted"], roles["runner_up"]
    margin = predicted["score"] - runner_up["score"]
    marked_pairs = [
        (role, row, pictures.MarkedCrop(_box(row), marks[row["rank"] - 1], role == "runner_up"))
        for role, marks in CROP_MARKS.items()
        for row in pairs
        if row["class_id"] == roles[role]["class_id"]
    ]
    return ExplainedImage(
        image_digest=predicted["image_digest"],
        image_name=predicted["image_name"],
        label=predicted["label"],
        predicted=predicted["class_name"],
        runner_up=runner_up["class_name"],
        sentences=[
            *_explain_margin(predicted, runner_up, pairs),
            *_explain_removals(predicted["class_name"], removals),
        ],
        pairs=[
            CropTextPair(
                crop.mark, role, row["class_name"], row["text"], row["similarity"], row["support"],
                _crop_uri(image, crop.box) if image else None,
            )
            for role, row, crop in marked_pairs
        ],
        shares={
            role: sum(row["support"] for of, row, _ in marked_pairs if of == role) / margin
            for role in CROP_MARKS
            if margin
        },
        drawings=_draw(image, [crop for *_, crop in marked_pairs], weights) if image else None,
        similarity_charts=[_chart_similarities(roles[role], texts) for role in CROP_MARKS],
        weight_chart=_chart_weights(predicted, texts),
    )  # fmt: skip


def _box(row: Row) -> pictures.Box:
    return pictures.Box(*(row[name] for name in pictures.Box._fields))


def _crop_uri(image: Image.Image, box: pictures.Box) -> str:
    return pictures.data_uri(pictures.thumbnail(image, CROP_PX, box), CROP_QUALITY, CROP_CHARACTERS)


def _draw(image: Image.Image, crops: list[pictures.MarkedCrop], weights: list[Row]) -> Drawings:
    boxes = [_box(row) for row in weights]
    heat_map = pictures.draw_heat_map(image, boxes, [row["weight"] for row in weights], DRAWING_PX)
    heat_map_uri, crops_uri = (
        pictures.data_uri(drawing, max_characters=DRAWING_CHARACTERS)
        for drawing in (heat_map, pictures.draw_crops(image, crops, DRAWING_PX))
    )
    return Drawings(heat_map_uri, crops_uri, heat_map.size)


def _explain_margin(predicted: Row, runner_up: Row, pairs: list[Row]) -> list[str]:
    margin = predicted["score"] - runner_up["score"]
    whole = predicted["whole_score"] - runner_up["whole_score"]
    order = "the same order" if whole > 0 else "the opposite order"
    sentences = [
        f"{predicted['class_name']} scores {predicted['score']:.4f} and {runner_up['class_name']} "
        f"scores {runner_up['score']:.4f}: the margin is {margin:.4f}, over "
        f"{predicted['crop_count']} crops. The whole image alone gives {order} ({whole:+.4f})."
    ]
    for row, sign in ((predicted, 1), (runner_up, -1)):
        name = row["class_name"]
        best = next((pair for pair in pairs if pair["class_id"] == row["class_id"]), None)
        if best and sign * best["support"] > 0:
            sentences.append(f"This description supports {name} most: {_quote(best['text'])}")
        else:
            sentences.append(f"No pair of crop and description supports {name}.")
    return sentences


def _explain_removals(predicted: str, removals: list[Row]) -> list[str]:
    """Say which removals of descriptions and of crops change the prediction."""
    sentences = []
    for removed in ("description", "crop"):
        rows = [row for row in removals if row["removed"] == removed]
        single = next((row for row in rows if row["is_changed"]), None)
        # the last step removes all of them, which leaves nothing to predict from
        together = next((row for row in rows[:-1] if row["is_changed_together"]), None)
        if single:
            name = f"crop {single['index']}"
            if removed == "description":
                name = f"the description {_quote(single['text'])}"
            sentences.append(
                f"If only {name} is removed, the prediction changes to {single['class_name']}."
            )
        elif together:
            sentences.append(
                f"Removing a single {removed} never changes the prediction; removing the "
                f"{together['step']} of {len(rows)} {removed}s that support {predicted} most "
                f"changes it to {together['class_name_together']}."
            )
        elif rows:
            sentences.append(
                f"The prediction stays {predicted} even when the {len(rows) - 1} of {len(rows)} "
                f"{removed}s that support it most are removed."
            )
    return sentences


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line if len(line) <= 160 else line[:159].rstrip() + '…'}”"


def _chart_similarities(role: Row, texts: list[Row]) -> TitledChart:
    """Draw figure 5 for one class: the descriptions that decide most."""
    own = [text for text in texts if text["class_id"] == role["class_id"]]
    shown = sorted(own, key=lambda t: (-abs(t["support"]), t["position"]))[:CHART_TEXTS]
    shown.sort(key=lambda t: (-t["weighted_similarity"], t["position"]))
    whole = sum(t["whole_similarity"] for t in own) / len(own)
    weighted = sum(t["text_weight"] * t["weighted_similarity"] for t in own)
    count = f"the {len(shown)} of {len(own)} that decide most" if len(own) > len(shown) else "all"
    title = f"Descriptions of {role['class_name']} ({count})"
    return TitledChart(title, charts.draw_similarities(shown, whole, weighted))


def _chart_weights(role: Row, texts: list[Row]) -> TitledChart:
    """Draw figure 4 for the predicted class."""
    own = [text for text in texts if text["class_id"] == role["class_id"]]
    shown = sorted(own, key=lambda t: (t["text_weight"], t["position"]))[:CHART_TEXTS]
    count = f"lowest {len(shown)} of {len(own)}" if len(own) > len(shown) else "lowest first"
    title = f"Text weights of {role['class_name']}, {count}"
    return TitledChart(title, charts.draw_text_weights(shown, len(own)))
