"""The describe flow and the flows that have their texts written, on a real Prefect server."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.artifacts import Artifact
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_LOCAL_STORAGE_PATH

from flows.benchmark import benchmark
from flows.describe import describe
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.classify import ClassifyConfig
from flows.settings.describe import DescribeConfig
from tasks.describe.task import SECRET_BLOCK
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.damage import find_damaged_files, repair
from tasks.store.tables import Store
from tests.conftest import photograph
from tests.describe.llm.model import answer
from tests.describe.llm.server import ModelServer
from tests.flows.conftest import KEY, Command

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def config(tmp_path: Path) -> DescribeConfig:
    return DescribeConfig(classes="cat, owl", questions=("clip-d",), store=tmp_path / "store")


def test_a_run_leaves_its_answers_and_says_what_became_of_them(
    server: ModelServer, config: DescribeConfig
) -> None:
    server.behaviour.answers = {"answer_2": "I'm sorry, I can't help with that."}
    summary = describe(config)
    assert (summary.class_count, summary.tally.answer_count) == (2, 20)
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        query = "SELECT class_name, text, dropped_by, cost_usd FROM answers WHERE position IS NULL"
        rows = snapshot.execute(query).fetchall()
        assert [row[:3] for row in rows] == [("cat", None, "refusal"), ("owl", None, "refusal")]
        total = snapshot.execute("SELECT sum(cost_usd), count(text) FROM answers").fetchall()[0]
        assert total == (pytest.approx(summary.tally.cost_usd), 18)
        run = snapshot.execute("SELECT flow_name, dataset_name, encoder_name FROM runs").fetchall()
        assert run == [("describe", "2 classes", None)]
    shown = Artifact.get("descriptions-2-classes")
    assert shown is not None
    every = json.loads(str(shown.data))[-1]
    assert (every["question"], every["wanted"], every["used"]) == ("all", "20", "18")
    assert every["dropped"] == "refusal 2"


def test_documented_questions_count_what_two_runs_share_once(
    server: ModelServer, config: DescribeConfig
) -> None:
    server.behaviour.answers = {"answer_2": "I'm sorry, I can't help with that."}
    first = describe(config)
    second = describe(config.model_copy(update={"classes": "cat, owl, emu"}))
    page = (Path(__file__).parents[2] / "docs" / "descriptions.md").read_text("utf-8")
    queries = re.findall(r'^wca sql "([^"]*? answers\b.*?)"$', page, re.M | re.S)
    with duckdb.connect(second.snapshot, read_only=True) as snapshot:
        fates, by_model, by_class, texts = (snapshot.execute(q).fetchall() for q in queries)
    assert [(fate, count) for _, fate, count in fates] == [("refusal", 3), (None, 27)]
    cost = (first.tally.cost_usd or 0) + (second.tally.cost_usd or 0)
    assert by_model == [("gpt-4o-mini", pytest.approx(cost))]
    assert {name for name, _ in by_class} == {"cat", "owl", "emu"}
    assert sum(of_class for _, of_class in by_class) == pytest.approx(cost)
    assert len(texts) == 9


def test_runs_have_short_names_in_the_ui(server: ModelServer, config: DescribeConfig) -> None:
    names = ",".join(f"thing_{i}" for i in range(1000))
    state = describe(
        config.model_copy(update={"classes": names, "questions": ("nope",)}), return_state=True
    )
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(state.state_details.flow_run_id).name
    assert name.startswith("thing_0,thing_1")
    assert name.endswith("... by gpt-4o-mini")
    assert len(name) < 80


def test_a_second_run_asks_nothing_and_is_cached(
    server: ModelServer, config: DescribeConfig
) -> None:
    first = describe(config)
    server.requests.clear()
    second = describe(config)
    assert not server.requests
    assert second.run_id == first.run_id
    assert {stage.stage: stage.reused_count for stage in second.stages} == {
        "ask language model": 1,
        "clean answers": 1,
    }
    cleaned = describe(config.model_copy(update={"clean": ("duplicate",)}))
    assert not server.requests
    assert cleaned.answers != first.answers
    assert cleaned.run_id != first.run_id
    store = Store(config.store)
    assert list(find_damaged_files(store)) == []
    (replies,) = config.store.glob("replies/*.jsonl")
    lines = replies.read_bytes().splitlines(keepends=True)
    replies.write_bytes(b"".join(lines[:-1]))
    ((place, reason),) = find_damaged_files(store)
    assert place == replies.parent
    assert reason.startswith(f"has lost 1 of {len(lines)} replies")
    repair(store)
    assert describe(config).tally.call_count == 1
    assert list(find_damaged_files(store)) == []


def test_missing_answers_fail_the_run_unless_they_are_accepted(
    server: ModelServer, config: DescribeConfig
) -> None:
    server.behaviour.answers = {"answer_5": " "}
    with pytest.raises(PermanentFailure, match="2 answers never came .* --accept-missing"):
        describe(config)
    summary = describe(config.model_copy(update={"accept_missing": True}))
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        query = "SELECT count(*) FROM answers WHERE dropped_by = 'missing' AND answer IS NULL"
        assert snapshot.execute(query).fetchall() == [(2,)]


def test_a_key_can_lie_in_a_secret_block(
    server: ModelServer, config: DescribeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(
        PermanentFailure, match="refused the key"
    ):  # a server of one's own is tried without
        describe(config)
    Secret(value=KEY).save(SECRET_BLOCK)
    try:
        assert describe(config).tally.answer_count == 20
    finally:
        Secret.delete(SECRET_BLOCK)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(InputError, match="There is no key .* OPENAI_API_KEY"):
        describe(config.model_copy(update={"classes": "ant, emu"}))


HOSTILE = [
    "Robert'); DROP TABLE answers;--",
    "<script>alert(1)</script>",
    '=cmd|"/C calc"!A0',
    "../../etc/passwd",
    "\u0645\u0631\u062d\u0628\u0627 \u202e red",
    "line\none\ttab",
    "{} {domain} %s $z",
]


def test_class_names_and_answers_are_text_whatever_they_say(
    server: ModelServer, config: DescribeConfig, tmp_path: Path
) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps(HOSTILE))
    nasty = "It's \"red\", <b>big</b>, \u202eround\u0000 and 10'; DROP TABLE runs;--"
    server.behaviour.answers = {"answer_1": nasty}
    summary = describe(config.model_copy(update={"classes": str(names), "clean": ()}))
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        query = "SELECT class_name, count(*) FROM answers GROUP BY ALL"
        counts = dict(snapshot.execute(query).fetchall())
        assert counts == dict.fromkeys((name.strip() for name in HOSTILE), 10)
        query = "SELECT DISTINCT text FROM answers WHERE answer_index = 0"
        assert snapshot.execute(query).fetchall() == [(nasty.replace("\0", ""),)]
    names_on_disk = {path.name for path in config.store.rglob("*")}
    assert all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in names_on_disk)


@pytest.fixture
def classify_or_benchmark(small: dict[str, Any], tmp_path: Path) -> dict[str, object]:
    return {
        **small,
        "store": tmp_path / "store",
        "llm": "gpt-4o-mini",
        "questions": ("clip-d", "cupl"),
        "answers": 2,
    }


def test_a_benchmark_scores_what_the_language_model_wrote(
    server: ModelServer, classify_or_benchmark: dict[str, object], photos: Path, tmp_path: Path
) -> None:
    config = BenchmarkConfig(data=f"folder:{photos}", **classify_or_benchmark)
    summary = benchmark(config)
    assert summary.texts == (
        "descriptions written by gpt-4o-mini",
        "descriptors written by gpt-4o-mini",
    )
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        methods = {m for (m,) in snapshot.execute("SELECT method FROM accuracy").fetchall()}
        assert {"clip_d", "cupl", "wca", "wca_refined"} <= methods
        query = "SELECT text FROM descriptions WHERE kind = 'description' AND class_id = 0"
        texts = {text for (text,) in snapshot.execute(query).fetchall()}
        assert answer("What does a big cat look like?", "answer_2") in texts
        assert len(texts) == 10
        (parameters,) = snapshot.execute("SELECT parameters FROM runs").fetchall()[0]
        assert json.loads(parameters)["llm"] == "gpt-4o-mini"
        # the answers are long: the encoder's context is known only now
        query = "SELECT count(*) FROM text_embeddings WHERE is_truncated"
        assert snapshot.execute(query).fetchall() == [(0,)]
    assert all(
        stage.reused_count == stage.table_count
        for stage in benchmark(config).stages
        if stage.stage != "index images"
    )
    file = tmp_path / "own.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="Both --descriptions and --llm"):
        benchmark(config.model_copy(update={"descriptions": file}))


def test_classify_uses_the_language_model(
    server: ModelServer, classify_or_benchmark: dict[str, object], tmp_path: Path
) -> None:
    from flows.classify import classify

    picture = tmp_path / "cat.png"
    photograph().save(picture)
    summary = classify(
        ClassifyConfig(images=(picture,), classes=("cat", "owl"), **classify_or_benchmark)
    )
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        methods = snapshot.execute("SELECT DISTINCT method FROM predictions").fetchall()
    assert methods == [("wca",)]


def test_the_key_is_nowhere_to_be_found(
    wca: Command, server: ModelServer, photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Everything that runs wrote: printed, stored, cached, logged, in Prefect's database."""
    wrong = "sk-wrong-0f8d7c6b5a4e3d2c"
    server.behaviour.answers = {"answer_1": f"Your key is {KEY}, and it is red."}
    server.behaviour.headers = {"x-request-id": KEY}
    store = ("--store", str(tmp_path / "store"))
    scoring = (f"folder:{photos}", "--encoder", f"local-dir:{tiny_model}", "--pool", "2")
    printed = []
    for key, status, arguments in (
        (KEY, 0, ("describe", "cat,owl", "--output", str(tmp_path / "texts.json"))),
        (KEY, 0, ("describe", "cat,owl", "--batch", "--batch-poll-sec", "0.01", "--domain", "x")),
        (KEY, 1, ("describe", "cat,owl", "--llm", "unknown-model")),
        (wrong, 1, ("describe", "cat,ant")),
        (wrong, 1, ("describe", "cat,emu", "--batch")),
        (
            KEY,
            0,
            ("benchmark", *scoring, "--runs", "1", "--llm", "gpt-4o-mini"),
        ),
    ):
        environment = {"OPENAI_BASE_URL": server.address, "OPENAI_API_KEY": key}
        asking = wca.with_environment({**environment, "PREFECT_LOGGING_LEVEL": "DEBUG"})
        printed.append(asking(*arguments, *store, status=status))
    assert server.requests
    url = str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    database = Path(url.partition(":///")[2].partition("?")[0])
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint")
        dump = "\n".join(connection.iterdump())
    assert "describe" in dump
    files = [*tmp_path.rglob("*"), *Path(PREFECT_LOCAL_STORAGE_PATH.value()).rglob("*")]
    written = [path.read_bytes() for path in files if path.is_file()]
    # Parquet compresses: what its columns say is searched as well
    with duckdb.connect() as reader:
        tables = [p for p in files if p.suffix == ".parquet"]
        rows = [str(reader.execute("FROM read_parquet(?)", [str(p)]).fetchall()) for p in tables]
    assert any("Your key is ***" in text for text in rows)
    for secret in (KEY, wrong):
        for text in (*printed, dump, *rows):
            assert secret not in text
        for data in written:
            assert secret.encode() not in data
