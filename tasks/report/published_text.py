"""Measured accuracies beside published ones as text: the published layout, notes, CSV rows."""

from collections.abc import Iterator, Sequence

from tasks.methods.registry import BASELINE, METHODS, method_title
from tasks.report.published import Judged, Measured, PublishedTable

# Nothing in the baseline is random: a larger difference has a cause that concerns every row.
BASELINE_POINTS = 1.0


def layout(
    table: PublishedTable, encoder: str, datasets: Sequence[str], cells: Sequence[Judged]
) -> list[dict[str, str]]:
    """Return the published layout for one encoder: a row per method, a column per data set.

    A cell is "ours / published", then the difference and whether that agrees. For an encoder that
    the table does not have, the published values are those of its first one, without a difference.
    """
    by_place = {
        (c.measured.method, c.measured.dataset): c for c in cells if c.measured.encoder == encoder
    }
    rows = []
    for method in (m for m in METHODS if any((m, d) in by_place for d in datasets)):
        row = {"method": method_title(method)}
        row |= {d: _cell_text(table, by_place[method, d]) for d in datasets}
        if table.mean and set(table.datasets) == set(datasets):
            row["mean"] = _mean_text(table, [by_place[method, d].measured for d in datasets])
        rows.append(row)
    return rows


def _cell_text(table: PublishedTable, cell: Judged) -> str:
    measured = cell.measured
    label = table.label(measured.encoder) or table.first_label
    text = _beside(measured.top1, table.value(measured.method, measured.dataset, label))
    if cell.difference is None:
        return text
    verdict = {None: "", True: " agrees", False: " differs"}[cell.is_within_tolerance]
    return f"{text}\n{cell.difference:+.2f}{verdict}"


def _mean_text(table: PublishedTable, row: Sequence[Measured]) -> str:
    label = table.label(row[0].encoder)
    published = table.mean.get(row[0].method, {}).get(label or table.first_label)
    values = [measured.top1 for measured in row if measured.top1 is not None]
    mean = sum(values) / len(values) if len(values) == len(row) else None
    text = _beside(mean, published)
    if mean is None or published is None or label is None:
        return text
    return f"{text}\n{round(mean, 2) - published:+.2f}"


def _beside(ours: float | None, published: float | None) -> str:
    left = "missing" if ours is None else f"{ours:.2f}"
    return f"{left} / {'-' if published is None else f'{published:.2f}'}"


def notes(table: PublishedTable, cells: Sequence[Judged]) -> list[str]:
    """Return what to know before the numbers: what differs from the published protocol, gaps."""
    return [
        *_weights_notes(table, cells),
        *_unlike_notes(cells),
        *(
            note
            for cell in cells
            if cell.measured.method == BASELINE and cell.measured.top1 is not None
            for note in _baseline_notes(cell)
        ),
        *_precision_notes(table, cells),
        *_missing_notes(cells),
    ]


def _weights_notes(table: PublishedTable, cells: Sequence[Judged]) -> Iterator[str]:
    for encoder in dict.fromkeys(cell.measured.encoder for cell in cells):
        label = table.label(encoder)
        if label and encoder != table.encoders[label]:
            yield (
                f"{encoder}: this file counts as {label} because of its architecture; whether it "
                "holds the published weights is not checked."
            )


def _unlike_notes(cells: Sequence[Judged]) -> Iterator[str]:
    datasets: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        for unlike in cell.unlike:
            key = method_title(cell.measured.method), unlike.reason
            datasets.setdefault(key, {})[cell.measured.dataset] = None
    for (title, reason), names in datasets.items():
        yield f"not like for like, {title} on {', '.join(names)}: {reason}"


def _baseline_notes(cell: Judged) -> Iterator[str]:
    measured, difference = cell.measured, cell.difference
    place = f"{measured.dataset}, {measured.encoder}"
    if measured.is_whole and abs(difference or 0) > BASELINE_POINTS:
        yield (
            f"{place}: plain {method_title(BASELINE)} is {difference:+.2f} points from the "
            "published value, so the class names, the prompts, the image pipeline, the weights or "
            "the data differ: check these before you judge any other row."
        )
    if not measured.is_whole:
        rejected = f", {measured.rejected_count:,} rejected" if measured.rejected_count else ""
        yield (
            f"{place}: {measured.image_count:,} of {measured.expected_count:,} images were "
            f"scored{rejected}; the published value is of all of them."
        )


def _precision_notes(table: PublishedTable, cells: Sequence[Judged]) -> Iterator[str]:
    measured = [cell.measured for cell in cells if cell.measured.precision]
    for encoder, precision, resampling in dict.fromkeys(
        (m.encoder, m.precision, m.resampling) for m in measured
    ):
        resizer = "Pillow" if resampling == "pillow" else f"the {resampling}"
        yield f"{encoder}: images were embedded in {precision}, crops were resized by {resizer}."
    if table.precision and any(table.label(m.encoder) for m in measured):
        yield f"precision: {table.precision}"


def _missing_notes(cells: Sequence[Judged]) -> Iterator[str]:
    datasets: dict[str, dict[str, None]] = {}
    for measured in (cell.measured for cell in cells):
        if measured.top1 is None:
            datasets.setdefault(measured.reason, {})[measured.dataset] = None
    for reason, names in datasets.items():
        yield f"missing, {', '.join(names)}: {reason}"


def csv_rows(cells: Sequence[Judged]) -> list[dict[str, object]]:
    """Return one row per cell, for a file."""
    return [
        {
            "encoder": measured.encoder,
            "dataset": measured.dataset,
            "method": measured.method,
            "top1": measured.top1,
            "published": cell.published,
            "difference": cell.difference,
            "tolerance": cell.tolerance,
            "is_within_tolerance": cell.is_within_tolerance,
            "unlike_because": " ".join(unlike.reason for unlike in cell.unlike) or None,
            "top1_low": measured.low if measured.top1 is not None else None,
            "top1_high": measured.high if measured.top1 is not None else None,
            "top1_sigma": measured.sigma,
            "published_sigma": cell.published_sigma,
            "image_count": measured.image_count,
            "rejected_count": measured.rejected_count,
            "expected_image_count": measured.expected_count,
            "precision": measured.precision or None,
            "resampling": measured.resampling or None,
            "missing_because": measured.reason or None,
        }
        for cell, measured in ((cell, cell.measured) for cell in cells)
    ]
