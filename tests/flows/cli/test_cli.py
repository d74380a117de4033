"""The `wca` command as people run it: in a process of its own, judged by output and status."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from flows.cli.app import COMMANDS
from tasks.store.published.snapshot import seal_snapshot
from tests.conftest import photograph
from tests.flows.conftest import WCA, Command


@pytest.fixture(scope="module")
def scored(wca: Command, photos: Path, tiny_model: Path) -> str:
    """A benchmark that has been run, and what it printed."""
    return wca(
        *("benchmark", f"folder:{photos}", "--encoder", f"local-dir:{tiny_model}"),
        *("--precision", "fp32", "--pool", "4", "--runs", "2", "--store", str(wca.store)),
    )


def test_benchmark_prints_accuracy_rejected_images_and_paths(wca: Command, scored: str) -> None:
    for text in ("CLIP-E", "95 % interval", "14 images, 2 classes", "2 images rejected", "empty"):
        assert text in scored
    assert "WCA" not in scored  # there are no descriptions
    assert str(wca.store / "wca.duckdb") in scored


def test_methods_lists_what_each_needs_and_what_the_last_run_lacks(
    here: Callable[..., str], wca: Command, scored: str, tmp_path: Path
) -> None:
    listed = here("methods", "--store", str(wca.store))
    assert all(f"\n{name}: " in f"\n{listed}" for name in ("clip", "mean_crops", "wca_paper"))
    assert "Li et al., Visual-Text Cross Alignment" in listed
    one = here("methods", "weighted crops x words", "wca", "--store", str(wca.store))
    row, pair = one.split("\nweighted_crops.words: Weighted crops")
    assert "<n(sum_i w_i p_i), n(mean_j t_j)>, w = softmax_i(e^4 <p_i, p_0>)" in pair
    assert "encodings: 1 + N; multiplications: N D + R N D + R C D" in pair
    assert "has all of it" in pair
    assert "has no descriptions" in row
    assert "There are no results in" in here("methods", "clip", "--store", str(tmp_path))


def test_sql_prints_rows_in_every_format(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    query = "SELECT method, image_count FROM accuracy WHERE method = 'clip'"
    ask = ("sql", query, "--store", str(wca.store))
    assert "clip" in wca(*ask)
    assert here(*ask, "--format", "csv").split() == ["method,image_count", "clip,12"]
    assert json.loads(here(*ask, "--format", "json")) == {"method": "clip", "image_count": 12}


def headings(line: str) -> list[str]:
    """The names in the second line of a box."""
    return [word for word in line.split() if word != "\u2502"]


def test_the_query_that_a_run_recommends_shows_its_accuracy(wca: Command, scored: str) -> None:
    (line,) = (line for line in scored.splitlines() if line.startswith("Ask it: wca "))
    narrow = wca.with_environment({"COLUMNS": "80"})
    lines = narrow(*shlex.split(line.removeprefix("Ask it: wca "))).splitlines()
    assert headings(lines[1]) == ["method", "top1", "top1_low", "top1_high"]
    assert [row.split()[1] for row in lines[4:7]] == ["clip", "clip_e", "waffle"]


def test_no_column_is_left_out_of_a_table(wca: Command, scored: str) -> None:
    ask = ("sql", "FROM accuracy WHERE method = 'clip'", "--store", str(wca.store))
    columns = [
        *("run_id", "method", "image_count", "run_count", "top1", "top1_sigma"),
        *("top1_low", "top1_high", "top5", "top5_sigma"),
    ]
    assert headings(wca(*ask).splitlines()[1]) == columns
    lines = wca.with_environment({"COLUMNS": "80"})(*ask).splitlines()
    assert [line.split(":")[0].strip() for line in lines if line] == columns
    assert len(lines[0].split(": ")[1]) == 32


def test_a_note_follows_the_first_rows_of_many(wca: Command, scored: str) -> None:
    query = "SELECT range, repeat('x', 300) AS long FROM range(1001)"
    output = wca.with_environment({"COLUMNS": "80"})("sql", query, "--store", str(wca.store))
    assert output.count("range: ") == 1000
    assert "long: " + 300 * "x" + "\n" in output
    assert output.endswith("These are the first 1000 rows: --format csv has all.\n")


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "The query is empty"), ("/* */ ;", "is empty"), ("SELECT 1; SELECT 2", "2 statements")],
)
def test_a_query_is_one_statement(
    here: Callable[..., str], wca: Command, scored: str, query: str, message: str
) -> None:
    assert message in here("sql", query, "--store", str(wca.store), status=2)


def test_csv_is_appended_to_a_file(wca: Command, scored: str, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    command = [*WCA, "sql", "SELECT 1 AS a, 'x,\"y' AS b", "--format", "csv"]
    with target.open("w") as file:
        file.write("before\n")
        file.flush()
        subprocess.run([*command, "--store", str(wca.store)], stdout=file, check=True)
    assert target.read_text() == 'before\na,b\n1,"x,""y"\n'


@pytest.mark.parametrize(("style", "first"), [("json", b'{"range": 0}\n'), ("csv", b"range\n")])
def test_a_reader_that_ends_early_causes_no_error_message(
    wca: Command, scored: str, style: str, first: bytes
) -> None:
    command = [*WCA, "sql", "FROM range(100000)", "--format", style, "--store", str(wca.store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == first
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_error_on_a_moved_store_names_the_command_that_helps(
    here: Callable[..., str], wca: Command, scored: str, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(wca.store, moved)
    shutil.move(wca.store, tmp_path / "away")
    try:
        ask = ("sql", "SELECT count(*) FROM images", "--store", str(moved))
        assert "copied from: `wca report` makes it again." in here(*ask, status=2)
        wca("report", "--store", str(moved))
        assert "14" in here(*ask)
    finally:
        shutil.move(tmp_path / "away", wca.store)


def test_json_has_every_column_and_null_for_nan_and_infinity(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    query = "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS b, -'inf'::FLOAT AS c, ':cat:' AS d"
    output = here("sql", query, "--store", str(wca.store), "--format", "json")
    assert json.loads(output) == {"a": 1, "a_1": 2, "b": None, "c": None, "d": ":cat:"}


OTHER_KINDS = [
    "DELETE FROM accuracy",
    "COPY (SELECT 1) TO '{store}/accuracy/x.parquet'",
    "COPY accuracy FROM '/etc/passwd'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/x.csv'",
    "EXPORT DATABASE '{store}/x'",
    "ATTACH '{store}/x.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA enable_profiling",
    "CALL enable_logging('QueryLog', storage = 'file', storage_path = '{store}/x')",
    "SET threads = 1",
    "CREATE VIEW x AS SELECT 1",
    "WITH x AS (SELECT 1) INSERT INTO accuracy FROM x",
    "USE memory",
    "VACUUM",
    "CHECKPOINT",
]
ELSEWHERE = [
    "FROM read_text('/etc/passwd')",
    "FROM read_csv('/etc/passwd')",
    "FROM read_blob('{store}/../x')",
    "FROM glob('/etc/*')",
    "FROM sniff_csv('/etc/passwd')",
    "FROM parquet_schema('/etc/x.parquet')",
    "FROM '/etc/x.parquet'",
    "FROM 'http://127.0.0.1:9/x.parquet'",
    "FROM read_parquet('s3://bucket/x.parquet')",
]


def test_sql_only_asks_and_only_about_the_store(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        found = [path for path in wca.store.parent.rglob("*") if path.is_file()]
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def ask(query: str) -> str:
        return here("sql", query.format(store=wca.store), "--store", str(wca.store), status=2)

    before = files()
    for query in OTHER_KINDS:
        assert "`wca sql` changes nothing, begin it with SELECT" in ask(query), query
    for query in ELSEWHERE:
        assert "`wca sql` reads only the store." in ask(query), query
    for query in ("FROM enable_logging(storage_path = '{store}/x')", "FROM connection", "FROM row"):
        assert "The query failed: " in ask(query), query
    assert files() == before


def test_sql_describes_and_reads_every_table(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    def ask(query: str) -> list[dict[str, object]]:
        rows = here("sql", query, "--store", str(wca.store), "--format", "json").splitlines()
        return [json.loads(row) for row in rows]

    names = [str(row["name"]) for row in ask("SHOW TABLES")]
    assert {"accuracy", "predictions", "runs"} < set(names)
    counts = ", ".join(f"(FROM {name} SELECT count(*)) AS {name}" for name in names)
    assert ask(f"SELECT {counts}")[0]["images"] == 14
    assert ask("DESCRIBE accuracy")[0]["column_name"] == "run_id"
    assert ask("SUMMARIZE accuracy")
    assert "run_id" in wca("sql", "DESCRIBE accuracy", "--store", str(wca.store))


def test_sql_shows_the_control_characters_and_the_beginning_of_a_hostile_name(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    characters = "chr(27) || ']0;x' || chr(7) || chr(155) || chr(8238) || chr(13) || chr(10)"
    query = f"SELECT {characters} AS name, [{characters}] AS names, 7 AS n, NULL AS a, '' AS b"
    for form in ("table", "csv", "json"):
        output = here("sql", query, "--store", str(wca.store), "--format", form)
        assert not set(output) & {chr(c) for c in (7, 13, 27, 155, 8238)}, form
        assert "x1b]0;x" in output or "u001b]0;x" in output, form
        if form == "csv":
            assert output.endswith(',7,,""\n')
        if form == "json":
            assert json.loads(output)["name"] == "\x1b]0;x\x07\x9b\u202e\r\n"
    long = wca("sql", "SELECT repeat('x', 5000) AS long", "--store", str(wca.store))
    assert max(map(len, long.splitlines())) < 600
    assert "x" * 500 + "..." in long


def test_sql_says_what_brings_an_older_snapshot_up_to_date(
    here: Callable[..., str], wca: Command, scored: str, tmp_path: Path
) -> None:
    query = ("sql", "SELECT no_such_column FROM accuracy", "--store")
    assert "up to date" not in here(*query, str(wca.store), status=2)
    older = tmp_path / "store"
    shutil.copytree(wca.store, older)
    here("report", "--store", str(older))
    with duckdb.connect(older / "wca.duckdb") as connection:
        connection.execute("CREATE TABLE earlier AS SELECT * EXCLUDE (command) FROM runs")
        connection.execute("CREATE OR REPLACE VIEW runs AS FROM earlier")
    seal_snapshot(older / "wca.duckdb")
    said = here(*query, str(older), status=2)
    assert "An earlier version made it: `wca report` brings it up to date." in said


def test_classify_prints_the_best_classes_of_images(
    wca: Command, tiny_model: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "photo [1].png"
    photograph().save(picture)
    descriptions = tmp_path / "texts.json"
    texts = {"cat": ["Furry."], "dog": ["Barks."], "cup": ["Hot."], "emu": ["Not asked for."]}
    descriptions.write_text(json.dumps(texts))
    common = ("--encoder", f"local-dir:{tiny_model}", "--pool", "3", "--store", str(wca.store))
    plain = wca("classify", str(picture), "--classes", "cat, dog,cup", *common)
    assert "CLIP: 1 image, 3 classes" in plain
    assert "photo [1].png" in plain
    described = ("--descriptions", str(descriptions), "--precision", "bf16")
    best = wca("classify", str(picture), "--classes", "cat,dog,cup", *described, *common)
    assert "WCA, adaptive: 1 image" in best
    assert "of float32 and Pillow (1 - cosine, 4 views)" in best
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\ncup\n")
    by_folder = wca("classify", str(tmp_path), "--classes", str(names), *common)
    assert "CLIP: 3 images, 3 classes" in by_folder
    assert "2 images rejected" in by_folder


def test_store_commands_list_verify_and_prune(
    here: Callable[..., str], wca: Command, scored: str
) -> None:
    store = ("--store", str(wca.store))
    listed = here("store", "ls", *store)
    assert "photos" in listed
    assert "(no run)" in listed
    assert "Every table is whole." in here("store", "verify", *store)
    pruned = here("store", "prune", "--dry-run", *store)
    assert "0 runs and 0 files, 0.0 MB, would be removed." in pruned
    assert "--keep must be at least 1" in here("store", "prune", "--keep", "0", *store, status=2)
    table = next((wca.store / "accuracy").glob("*.parquet"))
    whole = table.read_bytes()
    table.write_bytes(whole[:-30])
    error = here("store", "verify", *store, status=1)
    table.write_bytes(whole)
    assert "1 files are missing or damaged: `wca store repair`" in error


def test_doctor_prints_what_is_here_and_hides_the_key(wca: Command, scored: str) -> None:
    key = "sk-doctor-must-not-show-this"
    wca.environment["OPENAI_API_KEY"] = key
    report = wca("doctor", "--store", str(wca.store))
    del wca.environment["OPENAI_API_KEY"]
    for text in ("photo-lite", "ViT-B-32-quickgelu/openai", "OPENAI_API_KEY", f" in {wca.store}"):
        assert text in report
    assert key not in report
    text = " ".join(report.split())
    assert "size 224 x 224, resize mode shortest" in text.replace(" │ ", " ")
    assert "logit scale 100, no logit bias" in text


def test_doctor_shows_how_an_encoder_reads_images_and_texts(
    wca: Command, scored: str, tiny_model: Path
) -> None:
    weights = tiny_model / "open_clip_model.safetensors"
    where = ("doctor", "--store", str(wca.store), "--encoder")
    report = wca(*where, f"local-dir:{tiny_model}")
    for fact in ("size 32 x 32", "bicubic", "[0.5, 0.4, 0.3]", "CLIP's", "77", "scale 14.2857"):
        assert fact in report
    refused = wca(*where, f"ViT-L-14:{weights}")
    assert "ViT-L-14-quickgelu/TAG" in refused
    assert "neither cached" in wca(*where, "ViT-B-16-SigLIP2/webli")


def test_bad_input_is_all_that_is_printed(wca: Command) -> None:
    error = wca("benchmark", "nonsense", status=2)
    assert len(error.strip().splitlines()) == 1


def test_a_failed_run_is_status_1(wca: Command, photos: Path, tiny_model: Path) -> None:
    error = wca(
        *("benchmark", f"folder:{photos}", "--encoder", f"local-dir:{tiny_model}"),
        *("--store", "/proc/no-tables-here"),
        status=1,
    )
    assert "wca: the run failed: " in error
    assert "start the same command again" in error


def test_help_shows_examples_for_every_command(here: Callable[..., str]) -> None:
    overview = here("--help")
    assert len(COMMANDS) == 17
    for name in [command.__name__.strip("_") for command in COMMANDS]:
        assert name in overview
        assert f"Example: wca {name}" in " ".join(here(name, "--help").split())
    for name in ("ls", "verify", "prune"):
        assert f"Example: wca store {name}" in " ".join(here("store", name, "--help").split())


NOT_FOR_TABLES = {"torch", "prefect", "openai", "open_clip"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        ((), {"torch", "prefect", "pyarrow", "numpy", "duckdb", "PIL", "openai"}),
        (("sql", "FROM accuracy"), NOT_FOR_TABLES | {"scipy"}),
        (("datasets",), NOT_FOR_TABLES | {"scipy"}),
        (("methods",), NOT_FOR_TABLES | {"scipy"}),
        (("compare", "last", "last"), NOT_FOR_TABLES),
        (("store", "ls"), NOT_FOR_TABLES | {"scipy"}),
    ],
)
def test_commands_run_without_what_they_do_not_need(
    wca: Command, scored: str, arguments: tuple[str, ...], heavy: set[str]
) -> None:
    store = () if arguments in {(), ("datasets",)} else ("--store", str(wca.store))
    code = (
        "import sys; from flows.cli.app import run; status = run(sys.argv[1:]); "
        "print(*sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *arguments, *store]
    environment = wca.environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "flows.cli.app" in done.stdout.splitlines()[-1].split()
    assert not heavy & set(done.stdout.splitlines()[-1].split())


def test_flows_are_imported_without_what_a_cached_run_does_not_need() -> None:
    code = "import sys, flows.benchmark, flows.classify, flows.sweep; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "flows.sweep" in done.stdout.split()
    assert not {"torch", "open_clip", "scipy", "pandas"} & set(done.stdout.split())
