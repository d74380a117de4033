"""Our results beside published ones: the same layout, the difference, and what it is worth."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.methods.registry import BASELINE, METHODS, method_title
from tasks.runtime.errors import InputError, invalid_file_error

PUBLISHED = DATA_FOLDER / "published"
# Plain CLIP has nothing random in it: a point of difference is no chance.
BASELINE_POINTS = 1.0
# Both figures are of the same images, so no sampling of images tells them apart. What does where
# nothing is drawn: other versions of libraries round, decode and resize otherwise, which moves
# single images across the border between two classes.
LIBRARY_POINTS = 0.3
# Where crops are drawn, in deviations over runs. Each figure is a mean over runs, but on one pool
# of crops: another pool of 100 moves it about as much as another draw of 60 moves one run.
SIGMAS = 2.0

_Values = dict[str, dict[str, float]]  # data set, encoder's label: percent


class PublishedTable(BaseModel):
    """A published table: top-1 in percent by method, data set and encoder.

    settings: of a benchmark, where all rows were measured otherwise than the data sets' cards say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    encoders: dict[str, str]
    datasets: tuple[str, ...]
    settings: dict[str, JsonValue] = {}
    top1: dict[str, _Values]
    sigma_of: str
    sigma: _Values
    mean: dict[str, dict[str, float]] = {}

    def label(self, encoder: str) -> str | None:
        """The table's label of an encoder, None for one it does not have.

        The published weights count under their tag, and any file for the same architecture is
        taken for them, of which `notes` says so.
        """
        for label, name in self.encoders.items():
            if encoder == name or encoder.startswith(f"{name.partition('/')[0]}:"):
                return label
        return None

    @property
    def first_label(self) -> str:
        """The column that is shown for orientation beside an encoder the table does not have."""
        return next(iter(self.encoders))

    def value(self, method: str, dataset: str, encoder: str) -> float | None:
        """The published percent, where there is one."""
        return self.top1.get(method, {}).get(dataset, {}).get(self.label(encoder) or "")


class Measured(BaseModel):
    """One of our cells, in percent; `reason` says why it is missing."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    encoder: str
    method: str
    top1: float | None = None
    low: float = 0.0
    high: float = 0.0
    sigma: float | None = None
    image_count: int = 0
    rejected_count: int = 0
    expected_count: int = 0
    precision: str = ""
    resampling: str = ""
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the whole published data set was scored."""
        return self.image_count >= self.expected_count


class Judged(NamedTuple):
    """A cell of ours beside the published one, in points; None where there is nothing to say.

    tolerance: by how much the two may differ although all that decides them is the same.
    """

    ours: Measured
    published: float | None = None
    published_sigma: float | None = None
    difference: float | None = None
    tolerance: float | None = None

    @property
    def is_within_tolerance(self) -> bool | None:
        """Whether the difference is within the tolerance."""
        if self.difference is None or self.tolerance is None:
            return None
        return abs(self.difference) <= self.tolerance


def published_table(name: str) -> PublishedTable:
    """A table of data/published; InputError where there is none of that name."""
    path = PUBLISHED / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PUBLISHED.glob("*.json")))
        raise InputError(f"Unknown table {name!r}: choose from {known}.")
    try:
        return PublishedTable.model_validate(read_json(path))
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a published table", error) from error


def judge(table: PublishedTable, ours: Measured) -> Judged:
    """Our cell, the published one, their difference and how much of one says nothing.

    There is no tolerance for a part of the images, nor for a method whose texts are random.
    """
    published = table.value(ours.method, ours.dataset, ours.encoder)
    if published is None or ours.top1 is None:
        return Judged(ours, published)
    # in hundredths, as published: 66.79 is 0.05 away from 66.84, not 0.0499999
    difference = round(round(ours.top1, 2) - published, 2)
    sigma = None
    if ours.method == table.sigma_of:
        sigma = table.sigma.get(ours.dataset, {}).get(table.label(ours.encoder) or "")
    is_judged = ours.is_whole and not METHODS[ours.method].has_random_texts
    tolerance = _tolerance(ours, sigma) if is_judged else None
    return Judged(ours, published, sigma, difference, tolerance)


def _tolerance(ours: Measured, published_sigma: float | None) -> float:
    """In points, rounded up to hundredths; a deviation that is not known is taken as the other."""
    known = [sigma for sigma in (ours.sigma, published_sigma) if sigma is not None]
    spread = math.hypot(known[0], known[-1]) if known else 0.0
    points = max(LIBRARY_POINTS, 100 / ours.image_count, SIGMAS * spread)
    return math.ceil(round(100 * points, 6)) / 100


def layout(
    table: PublishedTable,
    encoder: str,
    datasets: Sequence[str],
    cells: Sequence[Judged],
) -> list[dict[str, str]]:
    """The published layout for one encoder: a row per method, a column per data set, as text.

    A cell is "ours / published", then the difference and whether that agrees. Beside an encoder
    that the table does not have stands its first one, with no judgement.
    """
    here = {(c.ours.method, c.ours.dataset): c for c in cells if c.ours.encoder == encoder}
    methods = [m for m in METHODS if any((m, d) in here for d in datasets)]
    rows = []
    for method in methods:
        row = {"method": method_title(method)}
        row |= {d: _cell_text(table, here[method, d]) for d in datasets}
        if table.mean and set(table.datasets) == set(datasets):
            row["mean"] = _mean_text(table, encoder, [here[method, d].ours for d in datasets])
        rows.append(row)
    return rows


def notes(table: PublishedTable, cells: Sequence[Judged]) -> list[str]:
    """What to know before the numbers: weights of a file, baselines off, parts that are missing."""
    lines = [
        f"{encoder}: taken for {label} by its architecture; whether the file holds the published "
        "weights is not checked."
        for encoder in dict.fromkeys(cell.ours.encoder for cell in cells)
        if (label := table.label(encoder)) and encoder != table.encoders[label]
    ]
    for cell in cells:
        ours, difference = cell.ours, cell.difference
        where = f"{ours.dataset}, {ours.encoder}"
        if ours.method != BASELINE or ours.top1 is None:
            continue
        if ours.is_whole and abs(difference or 0) > BASELINE_POINTS:
            lines.append(
                f"{where}: plain CLIP is {difference:+.2f} points from the published value, so the "
                "class names, the prompts, the image pipeline, the weights or the data differ: "
                "look there first, before blaming any other row."
            )
        if not ours.is_whole:
            rejected = f", {ours.rejected_count:,} rejected" if ours.rejected_count else ""
            lines.append(
                f"{where}: {ours.image_count:,} of {ours.expected_count:,} images were "
                f"scored{rejected}; the published value is of all of them."
            )
    for encoder, precision, resampling in dict.fromkeys(
        (c.ours.encoder, c.ours.precision, c.ours.resampling) for c in cells if c.ours.precision
    ):
        who = "Pillow" if resampling == "pillow" else f"the {resampling}"
        lines.append(f"{encoder}: images embedded in {precision}, crops resized by {who}.")
    missing: dict[str, list[str]] = {}
    for cell in cells:
        if cell.ours.top1 is None:
            missing.setdefault(cell.ours.reason, []).append(f"{cell.ours.dataset}")
    for reason, names in missing.items():
        lines.append(f"missing, {', '.join(dict.fromkeys(names))}: {reason}")
    return lines


def csv_rows(cells: Sequence[Judged]) -> list[dict[str, object]]:
    """One row per cell, for a file."""
    return [
        {
            "encoder": c.ours.encoder,
            "dataset": c.ours.dataset,
            "method": c.ours.method,
            "top1": c.ours.top1,
            "published": c.published,
            "difference": c.difference,
            "tolerance": c.tolerance,
            "is_within_tolerance": c.is_within_tolerance,
            "top1_low": c.ours.low if c.ours.top1 is not None else None,
            "top1_high": c.ours.high if c.ours.top1 is not None else None,
            "top1_sigma": c.ours.sigma,
            "published_sigma": c.published_sigma,
            "image_count": c.ours.image_count,
            "rejected_count": c.ours.rejected_count,
            "expected_image_count": c.ours.expected_count,
            "precision": c.ours.precision or None,
            "resampling": c.ours.resampling or None,
            "missing_because": c.ours.reason or None,
        }
        for c in cells
    ]


def _cell_text(table: PublishedTable, cell: Judged) -> str:
    """A cell of the grid, two lines where there is something to compare."""
    label = table.label(cell.ours.encoder) or table.first_label
    published = table.top1.get(cell.ours.method, {}).get(cell.ours.dataset, {}).get(label)
    right = "-" if published is None else f"{published:.2f}"
    if cell.ours.top1 is None:
        return f"missing / {right}"
    text = f"{cell.ours.top1:.2f} / {right}"
    if cell.difference is None:
        return text
    verdict = {None: "", True: " agrees", False: " differs"}[cell.is_within_tolerance]
    return f"{text}\n{cell.difference:+.2f}{verdict}"


def _mean_text(table: PublishedTable, encoder: str, ours: Sequence[Measured]) -> str:
    method = ours[0].method
    label = table.label(encoder)
    published = table.mean.get(method, {}).get(label or table.first_label)
    right = "-" if published is None else f"{published:.2f}"
    values = [m.top1 for m in ours if m.top1 is not None]
    if len(values) < len(ours):
        return f"missing / {right}"
    mean = sum(values) / len(values)
    text = f"{mean:.2f} / {right}"
    return (
        text if published is None or label is None else f"{text}\n{round(mean, 2) - published:+.2f}"
    )
