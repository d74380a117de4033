"""Two runs side by side: what differs, and the images whose predictions differ."""

from typing import NamedTuple

from tasks.methods.registry import find_method, method_title, preferred_method
from tasks.report.page.images import ImageOpener, Thumbnail, ThumbnailMaker
from tasks.report.page.queries import QueryResult, Row, execute_query, scored_methods
from tasks.report.page.render import render_template
from tasks.report.page.tables import TableLayout, build_tables, columns
from tasks.runtime.errors import InputError
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.records import RunManifest
from tasks.store.runs import find_run
from tasks.store.tables import Store

# The flows whose runs have accuracy or classes to compare.
COMPARED_FLOWS = ("benchmark", "classify")
COMPARISON_TABLES: dict[str, TableLayout] = {
    "settings": TableLayout(
        "What differs",
        columns("text", setting="setting", first="first run", second="second run"),
    ),
    "accuracy": TableLayout(
        "Accuracy",
        columns("method", method="method"),
        columns("percent", first="first, top-1 %", first_low="first, low"),
        columns("percent", first_high="first, high", second="second, top-1 %"),
        columns("percent", second_low="second, low", second_high="second, high"),
        columns("points", difference="difference, points"),
    ),
    "counts": TableLayout(
        "Images",
        columns("count", image_count="images in both", changed_count="predicted differently"),
        columns("count", only_second_right_count="only the second right"),
        columns("count", only_first_right_count="only the first right"),
    ),
    "classes": TableLayout(
        "Classes that changed, most first",
        columns("text", class_name="class"),
        columns("count", first_images="first, images", second_images="second, images"),
        columns("percent", first="first, %", second="second, %"),
        columns("points", difference="difference, points"),
        is_long=True,
    ),
    "flips": TableLayout(
        "Images that are predicted differently",
        columns(
            "text", image_name="image", label="labelled", first="first run", second="second run"
        ),
        is_long=True,
    ),
}


class RunPair(NamedTuple):
    """Two runs, the method whose classes and images are compared, and a result for each table.

    hits: a row for each labelled image of both runs, with the runs in which each is right.
    """

    first: RunManifest
    second: RunManifest
    method: str
    results: dict[str, QueryResult]
    hits: QueryResult

    def rows(self, name: str) -> list[Row]:
        """The rows of one of `COMPARISON_TABLES`."""
        return self.results[name].rows

    @property
    def unshared(self) -> str:
        """A sentence on the images that only one of the runs has; empty where both have all."""
        (counts,) = self.rows("counts")
        first, second = counts["first_only_count"], counts["second_only_count"]
        if not first and not second:
            return ""
        accuracy = "; accuracy is over each run's own images" if self.rows("accuracy") else ""
        return f"Images in the first run only: {first}, in the second run only: {second}{accuracy}."


def read_pair(store: Store, first: str, second: str, method: str | None) -> RunPair:
    """Compare two runs, named by the beginning of their names; InputError for unknown ones.

    method: whose classes and images are compared; None: the preferred one of both.
    """
    runs = find_run(store, first, COMPARED_FLOWS), find_run(store, second, COMPARED_FLOWS)
    ids = [run.run_id for run in runs]
    with open_snapshot(snapshot_path(store), *ids) as connection:
        shared = scored_methods(connection, ids[0]) & scored_methods(connection, ids[1])
        if method and method not in shared:
            method = find_method(method).name
        chosen = method or preferred_method(shared)
        if not shared or chosen is None:
            raise InputError("The two runs share no method: score one of --methods in both.")
        if chosen not in shared:
            raise InputError(
                f"Both runs must have scored {chosen}: choose --method from "
                f"{', '.join(sorted(shared))}."
            )
        literals = {"first": ids[0], "second": ids[1], "method": chosen}
        results = {
            name: execute_query(connection, f"compare/{name}", **literals)
            for name in COMPARISON_TABLES
        }
        hits = execute_query(connection, "compare/hits", **literals)
    return RunPair(*runs, chosen, results, hits)


def pair_page(pair: RunPair, open_image: ImageOpener, verdict: str) -> str:
    """Return the page; verdict: what the paired comparison says, empty where there is none."""
    thumbnails = ThumbnailMaker(open_image)
    flips: dict[str, list[Thumbnail]] = {}
    for row in pair.rows("flips"):
        names = {"class_name": row["label"], "predicted_class_name": row["second"]}
        made = thumbnails.make({**row, **names, "is_correct": row["is_second_right"]})
        if made:
            flips.setdefault(_flip_heading(row), []).append(made)
    return render_template(
        "compare.html.j2",
        first=pair.first,
        second=pair.second,
        method_title=method_title(pair.method),
        tables=build_tables(COMPARISON_TABLES, pair.results),
        flips=flips,
        verdict=verdict,
        unshared=pair.unshared,
    )


def _flip_heading(row: Row) -> str:
    if row["label"] is None:
        return "Predicted differently"
    if row["is_second_right"]:
        return "Only the second run is right"
    return "Only the first run is right" if row["is_first_right"] else "Both are wrong, differently"
