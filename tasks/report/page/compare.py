"""Two runs side by side: what differs, and the images that are called otherwise."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import duckdb
from PIL import Image

from tasks.methods.registry import METHODS, method_title, preferred_method
from tasks.report.page.cells import Column
from tasks.report.page.queries import Answered, Row, ask, query_text
from tasks.report.page.render import Thumbnail, Thumbnails, environment
from tasks.report.page.sections import Section, part
from tasks.runtime.errors import InputError
from tasks.store.runs import RunManifest, find_run
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

# The flows whose runs have accuracy or classes to compare.
COMPARED = ("benchmark", "classify")
SECTIONS: dict[str, Section] = {
    "settings": Section(
        "What differs",
        (
            Column("setting", "setting"),
            Column("first", "first run"),
            Column("second", "second run"),
        ),
    ),
    "accuracy": Section(
        "Accuracy",
        (
            Column("method", "method", "method"),
            Column("first", "first, top-1 %", "percent"),
            Column("first_low", "first, low", "percent"),
            Column("first_high", "first, high", "percent"),
            Column("second", "second, top-1 %", "percent"),
            Column("second_low", "second, low", "percent"),
            Column("second_high", "second, high", "percent"),
            Column("difference", "difference, points", "points"),
        ),
    ),
    "counts": Section(
        "Images",
        (
            Column("image_count", "images in both", "count"),
            Column("changed_count", "called otherwise", "count"),
            Column("won_count", "only the second right", "count"),
            Column("lost_count", "only the first right", "count"),
        ),
    ),
    "classes": Section(
        "Classes that changed, most first",
        (
            Column("class_name", "class"),
            Column("first_images", "first, images", "count"),
            Column("second_images", "second, images", "count"),
            Column("first", "first, %", "percent"),
            Column("second", "second, %", "percent"),
            Column("difference", "difference, points", "points"),
        ),
        is_long=True,
    ),
    "flips": Section(
        "Images that are called otherwise",
        (
            Column("image_name", "image"),
            Column("label", "labelled"),
            Column("first", "first run"),
            Column("second", "second run"),
        ),
        is_long=True,
    ),
}


class RunPair(NamedTuple):
    """Two runs, the method that is looked at closely, and the answers to each query."""

    first: RunManifest
    second: RunManifest
    method: str
    answers: dict[str, Answered]

    def rows(self, name: str) -> list[Row]:
        """The rows of one of `SECTIONS`."""
        return self.answers[name].rows

    @property
    def unshared(self) -> str:
        """A sentence on the images that only one of the runs has; empty where both have all."""
        (counts,) = self.rows("counts")
        first, second = counts["first_only_count"], counts["second_only_count"]
        if not first and not second:
            return ""
        accuracy = ", and accuracy is over each run's own" if self.rows("accuracy") else ""
        return f"Images in the first run only: {first}, in the second only: {second}{accuracy}."


def read_pair(store: Store, first: str, second: str, method: str | None) -> RunPair:
    """Compare two runs, named by the beginning of their names; InputError for unknown ones.

    method: whose classes and images are compared; None: the preferred one of both.
    """
    runs = find_run(store, first, COMPARED), find_run(store, second, COMPARED)
    ids = [run.run_id for run in runs]
    with open_snapshot(snapshot_path(store), *ids) as connection:
        shared = _shared_methods(connection, ids)
        chosen = method or preferred_method(shared)
        if chosen not in shared:
            raise InputError(f"Both runs must have scored {chosen or 'a method'}: {shared}.")
        literals = {
            "first": f"'{ids[0]}'",
            "second": f"'{ids[1]}'",
            "method": f"'{chosen}'",
            "methods": f"{list(METHODS)}",
        }
        votes = query_text("compare/votes", literals)
        answers = {
            name: ask(connection, f"compare/{name}", {**literals, "votes": votes})
            for name in SECTIONS
        }
    return RunPair(*runs, chosen, answers)


def pair_page(
    pair: RunPair,
    open_image: Callable[[str, str], Image.Image | None],
    p_values: Sequence[float] | None,
) -> str:
    """The page; p_values: McNemar's exact and mid-p, None of runs that share no image."""
    thumbnails = Thumbnails(open_image)
    parts = {
        name: part(name, section, pair.answers[name])
        for name, section in SECTIONS.items()
        if pair.rows(name)
    }
    flips: dict[str, list[Thumbnail]] = {}
    for row in pair.rows("flips"):
        names = {"class_name": row["label"], "predicted_class_name": row["second"]}
        small = thumbnails.of({**row, **names, "is_correct": row["is_second_right"]})
        if small:
            flips.setdefault(_outcome(row), []).append(small)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            first=pair.first,
            second=pair.second,
            method_title=method_title(pair.method),
            parts=parts,
            flips=flips,
            p_values=p_values,
            unshared=pair.unshared,
        )
    )


def _outcome(row: Row) -> str:
    if row["label"] is None:
        return "Called otherwise"
    if row["is_second_right"]:
        return "Only the second is right"
    return "Only the first is right" if row["is_first_right"] else "Both are wrong, otherwise"


def _shared_methods(connection: duckdb.DuckDBPyConnection, ids: list[str]) -> list[str]:
    query = (
        "SELECT method FROM class_vectors WHERE run_id IN (?, ?) GROUP BY method "
        "HAVING count(DISTINCT run_id) = ? ORDER BY method"
    )
    rows = connection.execute(query, [*ids, len(set(ids))]).fetchall()
    return [name for (name,) in rows]
