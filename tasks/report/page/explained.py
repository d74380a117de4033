"""Explanations of images, put together from the tables for a page, a picture and a short text."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from PIL import Image

from tasks.report.page import charts
from tasks.report.page.pictures import Mark, crop, data_uri, heat_map, marked, scaled
from tasks.report.page.queries import Queries, Row

# Sides of what is drawn, in pixels.
PICTURE, CROP = 330, 72
# Characters of each: of the pictures of twelve images, so that a page stays below 3 MB.
MOST_PICTURE, MOST_CROP = 28_000, 3_500
# Descriptions in a chart: as many as one can compare at a glance.
SHOWN_TEXTS = 10
NAMES = {"predicted": "123456", "runner_up": "abcdef"}

Open = Callable[[str, str], Image.Image | None]


class Pair(NamedTuple):
    """A crop and the description that it speaks for."""

    mark: str
    role: str
    class_name: str
    text: str
    similarity: float
    support: float
    crop_uri: str | None


class Chart(NamedTuple):
    """A chart and what it shows."""

    title: str
    spec: dict[str, Any]


class ExplainedImage(NamedTuple):
    """All that is said and drawn of one image."""

    image_digest: str
    image_name: str
    label: str | None
    predicted: str
    runner_up: str
    sentences: list[str]
    pairs: list[Pair]
    heat_uri: str | None
    marked_uri: str | None
    picture_size: tuple[int, int]
    similarity_charts: list[Chart]
    weight_chart: Chart

    @property
    def is_wrong(self) -> bool:
        """Whether the picture is labelled otherwise."""
        return self.label is not None and self.label != self.predicted


def explained_images(queries: Queries, open_image: Open) -> Iterator[ExplainedImage]:
    """Every explained image of the run, in the order of the tables.

    open_image: from name and digest to the picture, None where it is not there any more.
    """
    pairs, texts, removals, weights = (
        _by_digest(queries.ask(name).rows)
        for name in ("explained_pairs", "explained_texts", "counterfactuals", "crop_weights")
    )
    for digest, roles in _by_digest(queries.ask("explained").rows).items():
        yield _explained(
            {row["role"]: row for row in roles},
            pairs[digest],
            texts[digest],
            removals[digest],
            weights[digest],
            open_image(roles[0]["image_name"], digest),
        )


def _by_digest(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["image_digest"], []).append(row)
    return found


def _explained(
    roles: dict[str, Row],
    pairs: list[Row],
    texts: list[Row],
    removals: list[Row],
    weights: list[Row],
    image: Image.Image | None,
) -> ExplainedImage:
    first, second = roles["predicted"], roles["runner_up"]
    named = [
        (row, role, NAMES[role][row["rank"] - 1])
        for role in NAMES
        for row in pairs
        if row["class_id"] == roles[role]["class_id"]
    ]
    marks = [
        Mark(r["left_px"], r["top_px"], r["side_px"], name, is_dashed=role == "runner_up")
        for r, role, name in named
    ]
    boxes = [(w["left_px"], w["top_px"], w["side_px"]) for w in weights]
    return ExplainedImage(
        image_digest=first["image_digest"],
        image_name=first["image_name"],
        label=first["label"],
        predicted=first["class_name"],
        runner_up=second["class_name"],
        sentences=[*_reasons(first, second, pairs), *_removals(first, removals)],
        pairs=[
            Pair(
                name, role, r["class_name"], r["text"], r["similarity"], r["support"],
                data_uri(crop(image, mark, CROP), 70, MOST_CROP) if image else None,
            )
            for (r, role, name), mark in zip(named, marks, strict=True)
        ],
        heat_uri=data_uri(
            heat_map(image, boxes, [w["weight"] for w in weights], PICTURE), most=MOST_PICTURE
        )
        if image
        else None,
        marked_uri=data_uri(marked(image, marks, PICTURE), most=MOST_PICTURE) if image else None,
        picture_size=scaled(image, PICTURE).size if image else (0, 0),
        similarity_charts=[_similarity_chart(roles[role], texts) for role in NAMES],
        weight_chart=_weight_chart(first, texts),
    )  # fmt: skip


def _reasons(first: Row, second: Row, pairs: list[Row]) -> list[str]:
    margin = first["score"] - second["score"]
    whole = first["whole_score"] - second["whole_score"]
    alone = "agrees" if whole > 0 else "would put them the other way round"
    said = [
        f"{first['class_name']} scores {first['score']:.4f}, {second['class_name']} "
        f"{second['score']:.4f}: a margin of {margin:.4f}. The whole image alone {alone} "
        f"({whole:+.4f})."
    ]
    for row, sign in ((first, 1), (second, -1)):
        best = next((p for p in pairs if p["class_id"] == row["class_id"]), None)
        if best and sign * best["support"] > 0:
            said.append(f"Most for {row['class_name']}: {_quoted(best['text'])}")
        else:
            said.append(f"No pair of crop and description speaks for {row['class_name']}.")
    return said


def _removals(first: Row, rows: list[Row]) -> list[str]:
    """What would change the answer, in words."""
    said = []
    for removed, many in (("description", "descriptions"), ("crop", "crops")):
        mine = [row for row in rows if row["removed"] == removed]
        single = next((row for row in mine if row["is_changed"]), None)
        # with nothing left there is no answer to speak of
        together = next((row for row in mine[:-1] if row["is_changed_together"]), None)
        if single:
            what = _quoted(single["text"]) if removed == "description" else str(single["index"])
            said.append(f"Without the {removed} {what} alone it would be {single['class_name']}.")
        elif together:
            said.append(
                f"No single {removed} changes the answer; without the {together['step']} of "
                f"{len(mine)} {many} that support {first['class_name']} most it would be "
                f"{together['class_name_together']}."
            )
        elif mine:
            said.append(
                f"It stays {first['class_name']} even without {len(mine) - 1} of the {len(mine)} "
                f"{many}, those that support it most."
            )
    return said


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line if len(line) <= 160 else line[:159].rstrip() + '…'}”"


def _similarity_chart(role: Row, texts: list[Row]) -> Chart:
    """Figure 5 for one class: the descriptions that weigh most in the decision."""
    mine = [t for t in texts if t["class_id"] == role["class_id"]]
    shown = sorted(mine, key=lambda t: (-abs(t["support"]), t["position"]))[:SHOWN_TEXTS]
    shown.sort(key=lambda t: (-t["weighted_similarity"], t["position"]))
    whole = sum(t["whole_similarity"] for t in mine) / len(mine)
    weighted = sum(t["text_weight"] * t["weighted_similarity"] for t in mine)
    count = f"the {len(shown)} of {len(mine)} that decide most" if len(mine) > len(shown) else "all"
    return Chart(
        f"Descriptions of {role['class_name']} ({count})",
        charts.similarities(shown, whole, weighted),
    )


def _weight_chart(role: Row, texts: list[Row]) -> Chart:
    """Figure 4 for the predicted class."""
    mine = sorted(
        (t for t in texts if t["class_id"] == role["class_id"]),
        key=lambda t: (t["text_weight"], t["position"]),
    )
    shown = mine[:SHOWN_TEXTS]
    count = f"lowest {len(shown)} of {len(mine)}" if len(mine) > len(shown) else "lowest first"
    return Chart(
        f"Text weights of {role['class_name']}, {count}", charts.text_weights(shown, len(mine))
    )
