"""The grid of image sides and text sides, and what each part of WCA adds, for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.methods.registry import IMAGE_SIDES, METHODS, TEXT_SIDES, method_title
from tasks.report.page.tables import format_value
from tasks.report.titles import side_title, step_title
from tasks.report.verdict import LEVEL, format_difference, join_names
from tasks.store.tables import Store, TableRef

Row = dict[str, Any]
BEST_MARK = "*"
# What the sentence says of a step: the change that accuracy may rise or fall with.
_CHANGES = {
    "texts_alone": "WCA's text half, weighted descriptions in place of the label",
    "crops_alone": "WCA's image half, weighted crops in place of the whole image",
    "text_weights_alone": "text weights in place of equal ones",
    "equal_crops": "plain averaging of as many crops as WCA takes",
    "crop_weights": "crop weights in place of equal ones",
}
_OUTCOMES = {
    "better": "accuracy rises with {changes}",
    "worse": "accuracy falls with {changes}",
    "open": "the data cannot tell whether accuracy changes with {changes}",
    "same": "no prediction changes with {changes}",
}
_CONTENT = {"content": "with the whole image", "content_on_crops": "with weighted crops"}
_CONTENT_OUTCOMES = {
    "better": "what the descriptions say beats random words {changes}",
    "worse": "random words beat what the descriptions say {changes}",
    "open": "the data cannot tell what the descriptions say from random words {changes}",
    "same": "random words predict the same as descriptions {changes}",
}


class GridCell(NamedTuple):
    """A pair of the grid. heat: 0 to 100, between the least and the greatest accuracy."""

    row: Row
    heat: float
    is_best: bool


class Grid(NamedTuple):
    """Titles of the text sides, and for each title of an image side its cells, None if unscored."""

    text_titles: list[str]
    rows: dict[str, list[GridCell | None]]

    @property
    def has_unnamed_pairs(self) -> bool:
        """Whether the grid has more than the rows of the results table."""
        cells = [cell for cells in self.rows.values() for cell in cells if cell]
        return any(
            not METHODS[cell.row["method"]].is_named
            for cell in cells
            if cell.row["method"] in METHODS
        )


def read_grid(store: Store, tables: Iterable[TableRef]) -> tuple[list[Row], list[Row]]:
    """Read the rows of `method_grid` and `method_steps` of a run's tables."""
    rows: dict[str, list[Row]] = {"method_grid": [], "method_steps": []}
    for ref in tables:
        if ref.table in rows:
            rows[ref.table] += store.read(ref).to_pylist()
    return rows["method_grid"], rows["method_steps"]


def arrange_grid(rows: Sequence[Row]) -> Grid:
    """Arrange rows of `method_grid`, sides in the order of the registry."""
    image_sides = _order_sides([side.name for side in IMAGE_SIDES], rows, "image_side")
    text_sides = _order_sides([side.name for side in TEXT_SIDES], rows, "text_side")
    by_sides = {(row["image_side"], row["text_side"]): row for row in rows}
    shares = [row["top1"] for row in rows]
    least, greatest = min(shares, default=0.0), max(shares, default=0.0)

    def make_cell(row: Row | None) -> GridCell | None:
        if row is None:
            return None
        span = greatest - least
        heat = 100 * (row["top1"] - least) / span if span else 50.0
        return GridCell(row, heat, row["top1"] == greatest)

    return Grid(
        [side_title(name) for name in text_sides],
        {
            side_title(image): [make_cell(by_sides.get((image, text))) for text in text_sides]
            for image in image_sides
        },
    )


def grid_table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return rows of `method_grid` as text: image sides down, text sides across; the best marked.

    Cells are top-1 in percent.
    """
    grid = arrange_grid(rows)
    return [
        {
            "image side": title,
            **{
                name: (
                    format_value(cell.row["top1"], "percent") + f" {BEST_MARK}" * cell.is_best
                    if cell
                    else ""
                )
                for name, cell in zip(grid.text_titles, cells, strict=True)
            },
        }
        for title, cells in grid.rows.items()
    ]


def step_table(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Return rows of `method_steps` as text: points, interval, and p after Holm's correction."""
    return [
        {
            "step": step_title(row["step"]),
            "from": method_title(row["baseline_method"]),
            "to": method_title(row["method"]),
            "points": format_value(row["difference"], "points"),
            "95 % interval": " to ".join(
                format_value(row[f"difference_{end}"], "points") for end in ("low", "high")
            ),
            "p": "same predictions" if row["is_identical"] else format_value(row["p_holm"], "p"),
        }
        for row in rows
    ]


def describe_steps(rows: Iterable[Row]) -> str:
    """Say in one sentence which part of WCA helps, and whether descriptions beat random words.

    rows: of `method_steps`. A part helps or harms where p after Holm's correction is below 0.05;
    else the data cannot tell. Returns an empty text without steps that it is about.
    """
    steps = {row["step"]: row for row in rows}
    clauses = [
        *_describe_outcomes(steps, _CHANGES, _OUTCOMES),
        *_describe_outcomes(steps, _CONTENT, _CONTENT_OUTCOMES),
    ]
    if not clauses:
        return ""
    sentence = "; ".join(clauses)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _describe_outcomes(
    steps: Mapping[str, Row], changes: Mapping[str, str], outcomes: Mapping[str, str]
) -> list[str]:
    found: dict[str, list[str]] = {}
    for name, change in changes.items():
        if row := steps.get(name):
            outcome = _find_outcome(row)
            figures = "" if outcome == "same" else f" ({format_difference(row)})"
            found.setdefault(outcome, []).append(change + figures)
    return [
        outcomes[outcome].format(changes=join_names(found[outcome]))
        for outcome in outcomes
        if outcome in found
    ]


def _find_outcome(row: Row) -> str:
    if row["is_identical"]:
        return "same"
    if row["p_holm"] is None or row["p_holm"] >= LEVEL:
        return "open"
    return "better" if row["difference"] > 0 else "worse"


def _order_sides(known: Sequence[str], rows: Sequence[Row], column: str) -> list[str]:
    """Return the sides that rows have: known ones in their order, then others."""
    present = dict.fromkeys(row[column] for row in rows)
    return [name for name in dict.fromkeys((*known, *present)) if name in present]
