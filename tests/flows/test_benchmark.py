"""The benchmark flow on a real Prefect server, with real JPEG files and a small open_clip model."""

import json
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

from flows.benchmark import benchmark
from flows.cli.benchmark import print_benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.runtime.errors import InputError
from tasks.store.published.publish import publish
from tasks.store.schemas import SNAPSHOT_TABLES, TABLES
from tasks.store.tables import Store
from tests.flows.conftest import contents

pytestmark = pytest.mark.usefixtures("prefect_server")


def cached(summary: RunSummary) -> dict[str, tuple[int, int]]:
    return {s.stage: (s.reused_count, s.table_count) for s in summary.stages}


def test_a_run_leaves_every_table_and_accounts_for_every_image(config: BenchmarkConfig) -> None:
    summary = benchmark(config)
    assert (summary.image_count, summary.rejected_count) == (14, 2)
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        rows = snapshot.execute("SELECT method, image_count, run_count FROM accuracy").fetchall()
        assert sorted(rows) == [
            ("clip", 12, 1),
            ("clip_e", 12, 1),
            ("cupl", 12, 1),
            ("mean_crops", 12, 3),
            ("waffle", 12, 1),
            ("wca", 12, 3),
            ("wca_paper", 12, 3),
            ("wca_refined", 12, 3),
        ]
        reasons = snapshot.execute("SELECT image_name, reason FROM rejected").fetchall()
        assert dict(reasons)["drink/empty.jpg"] == "The file is empty."
        assert "damaged" in dict(reasons)["drink/truncated.jpg"]
        # what the tables say of accuracy follows from the predictions they hold
        query = """
            SELECT method, avg(is_correct::INT) FROM image_predictions WHERE rank = 1 GROUP BY ALL
        """
        recomputed = dict(snapshot.execute(query).fetchall())
        stated = dict(snapshot.execute("SELECT method, top1 FROM accuracy").fetchall())
        assert recomputed == pytest.approx(stated)
        (run,) = snapshot.execute("SELECT run_id, versions, parameters FROM runs").fetchall()
        assert run[0] == summary.run_id
        assert json.loads(run[1])["torch"]
        assert json.loads(run[2])["alpha"] == 0.5


def test_a_faster_number_format_says_what_it_costs(
    config: BenchmarkConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = benchmark(config)
    fast = benchmark(config.model_copy(update={"precision": "bf16"}))
    found = []
    for summary in (exact, fast):
        print_benchmark(summary)
        with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
            query = """SELECT precision, resampling, view_count, max_cosine_error, mean_cosine_error
                       FROM precision_checks WHERE run_id = ?"""
            found += snapshot.execute(query, [summary.run_id]).fetchall()
    assert found[0] == ("fp32", "pillow", 0, 0.0, 0.0)
    assert found[1][:2] == ("bf16", "pillow")
    assert found[1][2] in {7, 14, 21, 28}  # images with 6 crops each, of the first shard
    assert 0 < found[1][4] < found[1][3] < 1e-2
    lines = [line for line in capsys.readouterr().out.splitlines() if "float32 and Pillow" in line]
    assert lines == [
        f"Embeddings are within {found[1][3]:.1e} of float32 and Pillow "
        f"(1 - cosine, {found[1][2]} views)."
    ]


def test_a_sigmoid_encoder_is_calibrated_by_its_own_logits(
    config: BenchmarkConfig, siglip_model: Path
) -> None:
    changes = {"encoder": f"local-dir:{siglip_model}", "methods": ("clip",)}
    summary = benchmark(config.model_copy(update=changes))
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        (record,) = snapshot.execute("SELECT encoder FROM runs").fetchall()[0]
        bins = snapshot.execute("SELECT confidence, prediction_count FROM calibration").fetchall()
        scores = snapshot.execute("SELECT score FROM predictions WHERE rank = 1").fetchnumpy()
    encoder = json.loads(record)
    assert (encoder["logit_scale"], encoder["logit_bias"]) == (10, -10)
    assert (encoder["cleaning"], encoder["context_length"]) == ("canonicalize", 8)
    assert encoder["preprocess"]["resize_mode"] == "squash"
    mean = sum(confidence * count for confidence, count in bins) / sum(count for _, count in bins)
    logits = 10 * scores["score"].astype(float) - 10
    assert mean == pytest.approx((1 / (1 + np.exp(-logits))).mean())


def test_a_run_gives_its_encoder_back(config: BenchmarkConfig) -> None:
    from tasks.embed import encoder

    benchmark(config)
    assert encoder._load.cache_info().currsize == 0


def test_the_snapshot_has_the_documented_columns(config: BenchmarkConfig) -> None:
    summary = benchmark(config)
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        for name, table in {**TABLES, **SNAPSHOT_TABLES}.items():
            if not table.snapshot and name != "inbox":
                continue
            columns = [row[0] for row in snapshot.execute(f"DESCRIBE {name}").fetchall()]
            documented = [column.name for column in table.columns]
            own = [] if name in SNAPSHOT_TABLES or name == "inbox" else ["run_id"]
            assert columns == own + documented, name


def test_weights_in_sql_are_those_of_the_scores(config: BenchmarkConfig) -> None:
    import numpy as np
    import torch

    from tasks.methods.wca import softmax_weights

    summary = benchmark(config)
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        query = """SELECT list(label_similarity ORDER BY position), list(weight ORDER BY position)
                   FROM description_weights GROUP BY class_id"""
        rows = snapshot.execute(query).fetchall()
        query = """SELECT list(whole_similarity ORDER BY crop_index),
                   list(weight ORDER BY crop_index) FROM crop_weights GROUP BY image_digest"""
        crops = snapshot.execute(query).fetchall()
    assert (len(rows), len(crops)) == (2, 12)
    for scale, pairs in ((2.0, rows), (4.0, crops)):
        for similarity, weights in pairs:
            expected = softmax_weights(torch.tensor(similarity, dtype=torch.float64), scale)
            np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_a_second_run_is_cached_and_says_the_same(config: BenchmarkConfig) -> None:
    first, second = benchmark(config), benchmark(config)
    assert second.run_id == first.run_id
    assert contents(second) == contents(first)
    for stage, (reused, total) in cached(second).items():
        assert reused == (0 if stage == "index images" else total), stage
    with duckdb.connect(second.snapshot, read_only=True) as snapshot:
        assert snapshot.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
        query = "SELECT count(DISTINCT flow_run_id) FROM executions"
        assert snapshot.execute(query).fetchall() == [(2,)]


def test_shards_batches_and_paths_change_no_number(
    config: BenchmarkConfig, photos: Path, tmp_path: Path
) -> None:
    first = benchmark(config)
    moved = tmp_path / "elsewhere" / photos.name
    moved.parent.mkdir()
    moved.symlink_to(photos)
    other = config.model_copy(
        update={"shard_size": 1000, "store": tmp_path / "other", "data": f"folder:{moved}"}
    )
    second = benchmark(other)
    rows = "SELECT * EXCLUDE (run_id) FROM image_predictions ORDER BY ALL"
    tables = []
    for summary in (first, second):
        with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
            tables.append(snapshot.sql(rows).to_arrow_table())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("damage", ["delete", "truncate"])
@pytest.mark.parametrize("table", ["crops", "text_embeddings", "predictions", "accuracy"])
def test_a_table_that_was_lost_is_made_again(
    config: BenchmarkConfig, damage: str, table: str
) -> None:
    first = benchmark(config)
    before = contents(first)
    path = Store(first.store_root).path(first.refs(table)[0])
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    second = benchmark(config)
    assert contents(second) == before
    redone = {stage for stage, (reused, total) in cached(second).items() if reused < total}
    assert len(redone - {"index images"}) == 1
    assert sum(total - reused for reused, total in cached(second).values()) == 2
    third = benchmark(config)
    assert all(r == t for stage, (r, t) in cached(third).items() if stage != "index images")


def test_another_parameter_redoes_only_what_it_decides(config: BenchmarkConfig) -> None:
    benchmark(config)

    def redone(**changes: object) -> set[str]:
        stages = cached(benchmark(config.model_copy(update=changes)))
        return {stage for stage, (reused, total) in stages.items() if reused < total}

    always = {"index images"}
    scores = {"score images", "summarise", "compare methods", "explain images"}
    assert redone(image_scale=3.0) == always | scores
    assert redone(text_weights=False) == always | {"weigh texts"} | scores
    assert redone(runs=5) == always | {"draw crops"} | scores
    crops = {"embed images", "check precision", "align images", "summarise alignments"} | scores
    assert redone(alpha=0.6) == always | crops
    assert redone(pool=7) == always | {"draw crops"} | crops
    # the seed decides crops, draws and random descriptors
    assert redone(seed=1) > always | crops


def test_one_photograph_more_redoes_one_shard(
    config: BenchmarkConfig, photos: Path, tmp_path: Path
) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(photos, mine)
    config = config.model_copy(update={"data": f"folder:{mine}"})
    benchmark(config)
    data = (mine / "drink" / "1.jpg").read_bytes()
    (mine / "drink" / "new.jpg").write_bytes(data + b"\0")  # other bytes, other digest
    reused, total = cached(benchmark(config))["embed images"]
    assert total > 1
    assert reused == total - 1


def test_bad_input_fails_at_once_and_says_why(config: BenchmarkConfig, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"drink": ["Hot."], "unicorn": ["White."]}))
    started = time.perf_counter()
    with pytest.raises(InputError, match="no texts for 1 of 2 classes: big cat"):
        benchmark(config.model_copy(update={"descriptions": wrong}))
    assert time.perf_counter() - started < 10  # not after a retry's delay


def test_a_reader_keeps_what_it_reads_while_a_snapshot_is_published(
    config: BenchmarkConfig,
) -> None:
    summary = benchmark(config)
    with duckdb.connect(summary.snapshot, read_only=True) as reader:
        before = reader.execute("SELECT * FROM accuracy ORDER BY ALL").fetchall()
        benchmark(config.model_copy(update={"runs": 2}))
        publish(Store(summary.store_root))
        assert reader.execute("SELECT * FROM accuracy ORDER BY ALL").fetchall() == before
    with duckdb.connect(summary.snapshot, read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]


def test_no_result_is_a_pickle(config: BenchmarkConfig) -> None:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

    benchmark(config)
    with pytest.raises(InputError):  # the results of failures are written too
        benchmark(config.model_copy(update={"data": "folder:/no/such/place"}))
    with pytest.raises(InputError):
        benchmark(config.model_copy(update={"descriptors": config.descriptions / "none"}))
    files = [p for p in Path(PREFECT_LOCAL_STORAGE_PATH.value()).iterdir() if p.is_file()]
    assert files
    for path in files:
        json.loads(path.read_text())
