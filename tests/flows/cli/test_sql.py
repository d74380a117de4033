"""Every question of docs/queries.md, asked of tables that real runs have written."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.describe import describe
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.describe import DescribeConfig
from tests.describe.llm.server import ModelServer

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "queries.md").read_text()
QUESTIONS = dict(re.findall(r"^## (.+?)\n.*?```sql\n(.*?)```", PAGE, re.M | re.S))


@pytest.fixture(scope="module")
def snapshot(
    prefect_server: None,
    photos: Path,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Three runs on a folder that changed in between, texts by a language model, a picture twice.

    And, last, one on another folder of the same name.
    """
    folder = tmp_path_factory.mktemp("changing") / "photos"
    shutil.copytree(photos, folder)
    store = tmp_path_factory.mktemp("store")
    server = ModelServer()
    server.behaviour.answers = {"answer_1": "A round thing. " * 40}
    with server.running(), pytest.MonkeyPatch.context() as patched:
        patched.setenv("OPENAI_BASE_URL", server.address)
        config = BenchmarkConfig(
            data=f"folder:{folder}",
            encoder=f"local-dir:{tiny_model}",
            precision="fp32",
            llm="gpt-4o-mini",
            answers=2,
            pool=6,
            crops=3,
            runs=4,
            store=store,
        )
        benchmark(config)
        shutil.copy(folder / "drink" / "1.jpg", folder / "big_cat" / "a drink.jpg")
        (folder / "drink" / "2.jpg").rename(folder / "drink" / "renamed.jpg")
        benchmark(config)
        benchmark(config.model_copy(update={"seed": 3}))
        other = tmp_path_factory.mktemp("elsewhere") / "photos"
        shutil.copytree(photos, other)
        changes = {"data": f"folder:{other}", "limit": 4, "llm": None, "methods": ("clip",)}
        benchmark(config.model_copy(update=changes))
        summary = describe(DescribeConfig(classes="cat,owl", answers=2, store=store))
    with duckdb.connect(summary.snapshot, read_only=True) as connection:
        yield connection


# Whether rows come back depends on what an encoder with random weights happens to see.
BY_CHANCE = {
    "Which classes got worse since the run before?",
    "On which images do WCA and CLIP disagree, and who is right?",
    "Which images change their class from draw to draw?",
}
# They ask for what the run of this store does not have: adaptive rows, and pairs of the grid.
OF_OTHER_RUNS = {"What did an answer cost?", "What does each half of WCA add, and both?"}


def test_there_are_a_dozen() -> None:
    assert len(QUESTIONS) >= 12
    assert set(QUESTIONS) >= BY_CHANCE | OF_OTHER_RUNS


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_every_question_has_an_answer(snapshot: duckdb.DuckDBPyConnection, question: str) -> None:
    rows = snapshot.execute(QUESTIONS[question]).fetchall()
    assert rows or question in BY_CHANCE | OF_OTHER_RUNS


def test_wca_is_repeated_from_the_tables_run_by_run(snapshot: duckdb.DuckDBPyConnection) -> None:
    found = snapshot.execute(
        QUESTIONS["What did WCA predict in each run, from the stored numbers alone?"]
    ).fetchall()
    recorded = snapshot.execute("""
        SELECT run_id, image_digest, run_index, class_id
        FROM predictions JOIN latest_runs USING (run_id)
        WHERE method = 'wca' AND rank = 1
        ORDER BY ALL
    """).fetchall()
    assert found == recorded
    assert {run for _, _, run, _ in found} == {0, 1, 2, 3}
    sums = snapshot.execute("""
        SELECT DISTINCT sum(draw_count), count(*) FROM draws GROUP BY run_id, run_index
    """).fetchall()
    assert sums == [(3, 6)]


def test_some_answers_are_known(snapshot: duckdb.DuckDBPyConnection) -> None:
    def ask(question: str) -> list[tuple[object, ...]]:
        return snapshot.execute(QUESTIONS[question]).fetchall()

    ((_, _, names, labels),) = ask("Which pictures are in a data set twice, and with which labels?")
    assert (names, labels) == (["big_cat/a drink.jpg", "drink/1.jpg"], 2)
    ((llm, answers, cost, _),) = ask("What have the language models cost so far?")
    assert (llm, answers) == ("gpt-4o-mini", 4 * 5 * 2)
    assert cost > 0
    files = ask("Which files could not be used?")
    assert sum(int(str(row[2])) for row in files) == 2  # once, however many runs met them
    scores = ask("What does WCA give every class of one image?")
    assert sorted(str(row[2]) for row in scores) == ["big cat", "drink"]
    assert len(ask("Where does an image's weight lie?")) == 13 + 4  # images of the two folders
    sure = ask("How sure is WCA of each image, and is it right?")
    recorded = snapshot.execute("""
        SELECT sum(confidence * prediction_count) / sum(prediction_count)
        FROM calibration JOIN latest_runs USING (run_id) WHERE method = 'wca'
    """).fetchall()
    mean = sum(float(str(row[2])) for row in sure) / len(sure)
    assert mean == pytest.approx(float(str(recorded[0][0])))
    useless = [row[:3] for row in ask("Which descriptions never help?")]
    assert len(useless) == len(set(useless))
    (truncated, *_) = ask("Which texts does the encoder not read to the end?")
    assert str(truncated[2]).startswith("A round thing.")
    query = QUESTIONS["Which classes got worse since the run before?"]
    improved = query.replace("WHERE change + above < 0", "WHERE change + above >= 0")
    both = ask("Which classes got worse since the run before?")
    both += snapshot.execute(improved).fetchall()
    # both classes under each of the seven methods whose texts are there
    assert len(both) == 2 * 8
