"""The page of a run, made from the snapshot and the run's images."""

import json
from typing import Any

from tasks.methods.registry import method_title
from tasks.report.grid import arrange_grid, describe_steps
from tasks.report.page.explained import explained_images
from tasks.report.page.images import ImageOpener, ThumbnailMaker
from tasks.report.page.queries import QueryResult, Row, RunQueries
from tasks.report.page.render import render_template
from tasks.report.page.report_tables import ANSWERS, REPORT_TABLES
from tasks.report.page.tables import build_tables
from tasks.report.verdict import describe_verdict, warn_of_few_images
from tasks.store.place import Place
from tasks.store.published.snapshot import open_snapshot

EXPLANATION_QUERIES = (
    *("explained", "explained_crops", "explained_pairs", "explained_texts"),
    "counterfactuals",
)


def render_report(snapshot: Place, run_id: str, open_image: ImageOpener) -> str:
    """Return the page of a run as HTML; the same rows and images make the same bytes."""
    with open_snapshot(snapshot, run_id) as connection:
        queries = RunQueries(connection, run_id)
        thumbnails = ThumbnailMaker(open_image)
        configuration = queries.execute("configuration")
        (run,) = configuration.rows
        is_labelled = run["flow_name"] != "classify"
        results = {name: queries.execute(name) for name in REPORT_TABLES if name != ANSWERS}
        results[ANSWERS] = QueryResult("", []) if is_labelled else queries.execute(ANSWERS)
        confused = _confused_classes(
            results["confusion"].rows, queries.execute("confused_images").rows, thumbnails
        )
        explained = list(explained_images(queries, open_image))
        gallery = queries.execute("gallery") if is_labelled else QueryResult("", [])
        return render_template(
            "report.html.j2",
            run=run,
            settings=_settings(run),
            configuration_sql=configuration.sql,
            tables=build_tables(REPORT_TABLES, results, run["crop_strategy"] or ""),
            method_title=method_title(queries.method),
            verdict=describe_verdict(results["accuracy"].rows, results["pairs"].rows),
            warning=warn_of_few_images(
                next((row["image_count"] for row in results["accuracy"].rows), 0)
            ),
            matrix=_pair_matrix(results["pairs"].rows),
            test_count=next((row["test_count"] for row in results["comparisons"].rows), 0),
            grid=arrange_grid(results["method_grid"].rows),
            steps_verdict=describe_steps(results["method_steps"].rows),
            step_count=next((row["test_count"] for row in results["method_steps"].rows), 0),
            is_labelled=is_labelled,
            confused=confused,
            explained=explained,
            explained_title=method_title(queries.explained),
            explained_sql=[queries.execute(name).sql for name in EXPLANATION_QUERIES],
            gallery=[made for row in gallery.rows if (made := thumbnails.make(row))],
            gallery_sql=gallery.sql,
        )


def _pair_matrix(pairs: list[Row]) -> dict[str, dict[str, Row]]:
    """Return each method less each other one, by titles: differences with their signs, and p.

    Methods are in the order of the pairs, the baseline first.
    """
    names = [row[column] for row in pairs for column in ("baseline_method", "method")]
    matrix: dict[str, dict[str, Row]] = {method_title(name): {} for name in names}
    for row in pairs:
        method, baseline = (method_title(row[name]) for name in ("method", "baseline_method"))
        p = row["p_holm"]
        matrix[method][baseline] = {"difference": row["difference"], "p": p}
        matrix[baseline][method] = {"difference": -row["difference"], "p": p}
    return matrix


def _confused_classes(
    pairs: list[Row], images: list[Row], thumbnails: ThumbnailMaker
) -> list[dict[str, Any]]:
    """Return the names of each pair of classes with its thumbnails, where there are any."""
    confused = []
    for pair in pairs:
        names = {key: pair[key] for key in ("class_name", "predicted_class_name")}
        made = [
            thumbnails.make({**image, **names, "is_correct": False})
            for image in images
            if all(image[key] == pair[key] for key in ("class_id", "predicted_class_id"))
        ]
        if shown := [thumbnail for thumbnail in made if thumbnail]:
            confused.append({**names, "thumbnails": shown})
    return confused


def _settings(run: Row) -> dict[str, dict[str, str]]:
    """Return the run's JSON columns as text, by title and name."""
    titles = {"Parameters": "parameters", "Encoder": "encoder", "Libraries": "versions"}
    return {
        title: {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in json.loads(run[column]).items()
        }
        for title, column in titles.items()
    }
