"""The page: every number is what the query beside it says, and no text is taken for code."""

import html
import json
import re
from pathlib import Path

import duckdb
import pytest

from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.report.page.images import image_opener
from tasks.report.page.queries import RunQueries
from tasks.report.page.report import render_report
from tasks.report.page.report_tables import REPORT_TABLES
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.tables import Store
from tests.pages import check, tables
from tests.report.page.conftest import BREAKOUT, CLASSES, LONG, RIGHT_TO_LEFT, SCRIPT
from tests.report.page.runs import Run


@pytest.fixture(scope="module")
def page(hostile: RunSummary) -> str:
    assert hostile.report is not None
    return hostile.report.read_text(encoding="utf-8")


def test_every_number_is_what_the_query_beside_it_says(page: str, hostile: RunSummary) -> None:
    of_other_runs = {"answers", "predictions"}
    assert (
        check(page, Path(str(hostile.snapshot)), REPORT_TABLES)
        == set(REPORT_TABLES) - of_other_runs
    )


def test_every_query_of_the_page_can_be_asked(page: str, hostile: RunSummary) -> None:
    queries = [html.unescape(text) for text in re.findall(r"<code>(.*?)</code>", page, re.DOTALL)]
    asked = [text for text in queries if not text.startswith("wca ")]
    assert len(asked) > 15
    with duckdb.connect(str(hostile.snapshot), read_only=True) as snapshot:
        for text in asked:
            assert snapshot.sql(text).to_arrow_table().num_rows > 0, text


def test_crops_sum_to_the_margin_of_the_class_that_the_tables_give(hostile: RunSummary) -> None:
    with open_snapshot(hostile.snapshot, hostile.run_id) as connection:
        queries = RunQueries(connection, hostile.run_id)
        given = connection.execute(
            """SELECT image_digest, predicted_class_name, runner_up_class_name, margin
               FROM best_predictions WHERE method = 'wca' AND run_index = 0"""
        ).fetchall()
        explained, crops = (queries.execute(name).rows for name in ("explained", "explained_crops"))
    answers = {digest: (*classes, margin) for digest, *classes, margin in given}
    assert len(explained) >= 12
    for digest in {row["image_digest"] for row in explained}:
        roles = {row["role"]: row for row in explained if row["image_digest"] == digest}
        predicted, runner_up, margin = answers[digest]
        assert roles["predicted"]["class_name"] == predicted
        assert roles["runner_up"]["class_name"] == runner_up
        supports = [row["support"] for row in crops if row["image_digest"] == digest]
        assert len(supports) == roles["predicted"]["crop_count"]
        assert sum(supports) == pytest.approx(margin, abs=1e-5)


def test_hostile_texts_are_texts(page: str) -> None:
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    for text in (SCRIPT, BREAKOUT, RIGHT_TO_LEFT, LONG):
        assert str(html.escape(text, quote=False)).replace('"', "&#34;") in page
    assert len(tables(page)["classes"].rows) == 6
    specs = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert len(specs) > 20
    for spec in specs:
        json.loads(spec)
        assert "<" not in spec


def test_a_thousand_classes_make_a_page_of_about_3_mb(page: str, hostile: RunSummary) -> None:
    assert hostile.class_count == CLASSES
    assert len(page.encode()) < 3_100_000


def test_the_page_points_nowhere(page: str) -> None:
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # the charts' runtime
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", body) == []
    assert "url(" not in body
    assert "default-src 'none'" in body


def test_the_same_tables_make_the_same_bytes(page: str, hostile: RunSummary) -> None:
    opener = image_opener(hostile.indexed)
    again = render_report(hostile.snapshot, hostile.run_id, opener)
    written, _, mark = page.rstrip("\n").rpartition("\n")
    assert (again, mark[:5]) == (written, "<!-- ")


def test_a_picture_that_is_gone_leaves_the_rest(hostile: RunSummary) -> None:
    def gone(name: str, digest: str) -> None:
        return None

    page = render_report(hostile.snapshot, hostile.run_id, gone)
    assert "The image file is gone, has changed or cannot be decoded." in page
    assert tables(page).keys() >= {"accuracy", "confusion"}


def test_the_command_on_the_page_repeats_the_run(
    page: str, hostile: RunSummary, hostile_config: BenchmarkConfig
) -> None:
    import shlex

    from flows.cli.app import app

    command = re.search(r'<pre class="command".*?><code>(.*?)</code>', page, re.DOTALL)
    assert command
    words = shlex.split(html.unescape(command[1]))
    assert words[:3] == ["wca", "benchmark", hostile_config.data]
    _, bound, _ = app.parse_args(words[1:], exit_on_error=False)
    given = bound.arguments["settings"].model_dump(exclude_unset=True)
    config = BenchmarkConfig(data=bound.arguments["data"], **given)
    assert config.model_copy(update={"store": hostile_config.store}) == hostile_config


# What the first version of a run had.
_FIRST = (
    *("images", "classes", "descriptions", "crops", "class_vectors", "predictions"),
    *("accuracy", "per_class_accuracy", "confusion", "rejected"),
)
# Tables that came together.
_EXPLANATION = ("explanations", "explained_texts", "explained_pairs", "counterfactuals")


def test_a_run_of_an_earlier_version_that_lacks_tables_has_a_page(tmp_path: Path) -> None:
    store = Store(tmp_path)
    whole = Run(store, 0)
    later = [kind for kind, rows in whole.rows.items() if rows and kind not in _FIRST]
    assert len(later) > 10
    alone = [kind for kind in later if kind not in _EXPLANATION]
    lacking = [later, *(alone[i::3] for i in range(3))]
    runs = [Run(store, i, {kind: [] for kind in kinds}) for i, kinds in enumerate(lacking, start=1)]
    snapshot = publish(store)
    for run, kinds in zip(runs, lacking, strict=True):
        page = render_report(snapshot, run.run_id, lambda *_: None)
        assert 'id="table-accuracy"' in page, kinds
