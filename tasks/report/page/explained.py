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
CROP_MARKS = {"predicted": "123", "runner_up": "abc"}
# The mark of a crop without which the prediction changes, where it is in none of the pairs.
REMOVED_MARK = "4"


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
    """The image under what each place adds to the margin, and with crops; size: of both."""

    margin_map_uri: str
    crops_uri: str
    size: tuple[int, int]


class ExplainedImage(NamedTuple):
    """The explanation of one image.

    shares: the part of the margin that the shown pairs of each class sum to, by role: the pairs of
    either class sum to the whole margin, so those of both must not be added. crops_caption: which
    crops are drawn. drawings: None where the image is not there any more.
    """

    image_digest: str
    image_name: str
    label: str | None
    predicted: str
    runner_up: str
    sentences: list[str]
    pairs: list[CropTextPair]
    shares: dict[str, float]
    crops_caption: str
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
    pairs, texts, removals, crops = (
        _group_by_digest(queries.execute(name).rows)
        for name in ("explained_pairs", "explained_texts", "counterfactuals", "explained_crops")
    )
    for digest, roles in _group_by_digest(queries.execute("explained").rows).items():
        image = open_image(roles[0]["image_name"], digest)
        rows = (groups[digest] for groups in (pairs, texts, removals, crops))
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
    crops: list[Row],
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
    drawn = [crop for *_, crop in marked_pairs]
    marks = {row["crop_index"]: crop.mark for _, row, crop in reversed(marked_pairs)}
    single = {row["removed"]: row for row in reversed(removals) if row["is_changed"]}
    if "crop" in single and (index := single["crop"]["index"]) not in marks:
        marks[index] = REMOVED_MARK
        drawn += [
            pictures.MarkedCrop(_box(row), REMOVED_MARK)
            for row in crops
            if row["crop_index"] == index
        ]
    return ExplainedImage(
        image_digest=predicted["image_digest"],
        image_name=predicted["image_name"],
        label=predicted["label"],
        predicted=predicted["class_name"],
        runner_up=runner_up["class_name"],
        sentences=[
            *_explain_margin(predicted, runner_up, crops, marked_pairs),
            *_explain_removals(predicted["class_name"], removals, single, marks),
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
        crops_caption=_name_crops(roles, drawn),
        drawings=_draw(image, drawn, crops) if image else None,
        similarity_charts=_chart_similarities([roles[role] for role in CROP_MARKS], texts),
        weight_chart=_chart_weights(predicted, texts),
    )  # fmt: skip


def _box(row: Row) -> pictures.Box:
    return pictures.Box(*(row[name] for name in pictures.Box._fields))


def _crop_uri(image: Image.Image, box: pictures.Box) -> str:
    return pictures.data_uri(pictures.thumbnail(image, CROP_PX, box), CROP_QUALITY, CROP_CHARACTERS)


def _draw(image: Image.Image, drawn: list[pictures.MarkedCrop], crops: list[Row]) -> Drawings:
    boxes, supports = [_box(row) for row in crops], [row["support"] for row in crops]
    margin_map = pictures.draw_margin_map(image, boxes, supports, DRAWING_PX)
    margin_map_uri, crops_uri = (
        pictures.data_uri(drawing, max_characters=DRAWING_CHARACTERS)
        for drawing in (margin_map, pictures.draw_crops(image, drawn, DRAWING_PX))
    )
    return Drawings(margin_map_uri, crops_uri, margin_map.size)


def _name_crops(roles: dict[str, Row], drawn: list[pictures.MarkedCrop]) -> str:
    """Say which crops are drawn: `1-3 for cat; a-c, dashed, for dog`."""
    parts = []
    for role, of_role in CROP_MARKS.items():
        marks = [crop.mark for crop in drawn if crop.mark in of_role]
        if marks:
            span = "-".join(dict.fromkeys((marks[0], marks[-1])))
            dashed = ", dashed," if role == "runner_up" else ""
            parts.append(f"{span}{dashed} for {roles[role]['class_name']}")
    if any(crop.mark == REMOVED_MARK for crop in drawn):
        parts.append(f"{REMOVED_MARK}: without it the prediction changes")
    return "; ".join(parts)


def _explain_margin(
    predicted: Row,
    runner_up: Row,
    crops: list[Row],
    pairs: list[tuple[str, Row, pictures.MarkedCrop]],
) -> list[str]:
    margin = predicted["score"] - runner_up["score"]
    whole = predicted["whole_score"] - runner_up["whole_score"]
    order = "the same order" if whole > 0 else "the opposite order"
    sentences = [
        f"{predicted['class_name']} scores {predicted['score']:.4f} and {runner_up['class_name']} "
        f"scores {runner_up['score']:.4f}: the margin is {margin:.4f}, over "
        f"{predicted['crop_count']} crops. The whole image alone gives {order} ({whole:+.4f})."
    ]
    supports = [crop["support"] for crop in crops]
    if supports:
        raising, lowering = ([s for s in supports if sign * s > 0] for sign in (1, -1))
        sentences.append(
            f"Of these, {len(raising)} are for {predicted['class_name']} ({sum(raising):+.4f} in "
            f"all) and {len(lowering)} for {runner_up['class_name']} ({sum(lowering):+.4f})."
        )
    for row, role, sign in ((predicted, "predicted", 1), (runner_up, "runner_up", -1)):
        name = row["class_name"]
        best = next(((pair, crop.mark) for of, pair, crop in pairs if of == role), None)
        if best and sign * best[0]["support"] > 0:
            sentences.append(
                f"Crop {best[1]} with this description supports {name} most: "
                f"{_quote(best[0]['text'])}"
            )
        else:
            sentences.append(f"No pair of crop and description supports {name}.")
    return sentences


def _explain_removals(
    predicted: str, removals: list[Row], single: dict[str, Row], marks: dict[int, str]
) -> list[str]:
    """Say which removals of descriptions and of crops change the prediction.

    single: by what is removed, the first removal of one alone that changes it. marks: of crops.
    """
    sentences = []
    for removed in ("description", "crop"):
        rows = [row for row in removals if row["removed"] == removed]
        # the last step removes all of them, which leaves nothing to predict from
        together = next((row for row in rows[:-1] if row["is_changed_together"]), None)
        if alone := single.get(removed):
            name = (
                f"the description {_quote(alone['text'])}"
                if removed == "description"
                else f"crop {marks[alone['index']]}"
            )
            sentences.append(
                f"If only {name} is removed, the prediction changes to {alone['class_name']}."
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


def _chart_similarities(roles: list[Row], texts: list[Row]) -> list[TitledChart]:
    """Draw figure 5 for some classes on one axis: of each the descriptions that decide most."""
    titles, drawn = [], []
    for role in roles:
        own = [text for text in texts if text["class_id"] == role["class_id"]]
        shown = sorted(own, key=lambda t: (-abs(t["support"]), t["position"]))[:CHART_TEXTS]
        shown.sort(key=lambda t: (-t["weighted_similarity"], t["position"]))
        whole = sum(t["whole_similarity"] for t in own) / len(own)
        weighted = sum(t["text_weight"] * t["weighted_similarity"] for t in own)
        count = f", {len(shown)} of {len(own)}" if len(own) > len(shown) else ""
        titles.append(f"Descriptions of {role['class_name']}{count}")
        drawn.append((shown, whole, weighted))
    specs = charts.draw_similarities(drawn)
    return [TitledChart(title, spec) for title, spec in zip(titles, specs, strict=True)]


def _chart_weights(role: Row, texts: list[Row]) -> TitledChart:
    """Draw figure 4 for the predicted class."""
    own = [text for text in texts if text["class_id"] == role["class_id"]]
    shown = sorted(own, key=lambda t: (t["text_weight"], t["position"]))[:CHART_TEXTS]
    title = f"{'Lowest text' if len(own) > len(shown) else 'Text'} weights of {role['class_name']}"
    return TitledChart(title, charts.draw_text_weights(shown, len(own)))
