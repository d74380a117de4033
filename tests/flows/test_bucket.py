"""Whole runs into a bucket, and what people read there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.benchmark import benchmark
from flows.pipeline.compare import compare_runs
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.damage import find_damaged_files
from tasks.store.place import Remote
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.remembered import remember_tables
from tasks.store.runs import read_runs, record_run
from tasks.store.tables import Store
from tests.buckets import BUCKET, S3Server, count_paths, s3_server

pytestmark = pytest.mark.usefixtures("prefect_server")

URL = f"s3://{BUCKET}/runs of all"


# The requests of a first run, a repeated one and publishing may be these: they were 132, 68 and 34.
FIRST, REPEATED, PUBLISHED = 150, 76, 38


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def config(
    small: dict[str, Any], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> BenchmarkConfig:
    folder = tmp_path_factory.mktemp("bucket")
    texts = {"big cat": ["A cat has whiskers."], "drink": ["A hot drink.", "Coffee is brown."]}
    (folder / "texts.json").write_text(json.dumps(texts))
    return BenchmarkConfig(
        **small,
        data=f"folder:{photos}",
        descriptions=folder / "texts.json",
        shard_size=7,
        store=folder / "store",
    )


@pytest.fixture(scope="module")
def there(server: S3Server, prefect_server: None, config: BenchmarkConfig) -> RunSummary:
    with server.counted() as requests:
        summary = benchmark(BenchmarkConfig.model_validate({**config.model_dump(), "store": URL}))
    assert len(requests) <= FIRST, count_paths(requests)
    return summary


def test_a_bucket_holds_the_tables_that_a_folder_holds(
    there: RunSummary, config: BenchmarkConfig
) -> None:
    here = benchmark(config)
    assert there.store_root == URL
    assert there.tables == here.tables
    assert there.run_id == here.run_id
    local, remote = Store(here.store_root), Store(there.store_root)
    for ref in here.tables:
        assert remote.read(ref) == local.read(ref), ref.table
    assert list(find_damaged_files(remote)) == []


def test_what_is_there_is_not_made_again(
    server: S3Server, there: RunSummary, config: BenchmarkConfig
) -> None:
    with server.counted() as requests:
        again = benchmark(config.model_copy(update={"store": URL}))
    assert len(requests) <= REPEATED, count_paths(requests)
    assert again.tables == there.tables
    for stage in again.stages:
        cached = 0 if stage.stage == "index images" else stage.table_count
        assert stage.reused_count == cached, stage.stage
    ((_, executions, _),) = read_runs(Store(URL))
    assert len(executions) == 2


def test_the_page_and_the_snapshot_are_read_where_they_are(
    there: RunSummary, here: Callable[..., str]
) -> None:
    assert isinstance(there.report, Remote)
    assert b"WCA" in there.report.read_bytes()
    query = "SELECT method, image_count FROM accuracy WHERE method = 'wca'"
    assert here("sql", query, "--store", URL, "--format", "csv").split() == [
        "method,image_count",
        "wca,12",
    ]
    query = "SELECT count(*) AS n, round(sum(weight)) AS w FROM crop_weights"  # a view of files
    assert here("sql", query, "--store", URL, "--format", "csv").split() == ["n,w", "72,12.0"]
    # in a bucket `..` is a name like any other, and leads nowhere
    for elsewhere in ("/etc/passwd", f"s3://{BUCKET}/other/x.parquet"):
        query = f"FROM read_blob('{elsewhere}')"
        assert "reads only the store" in here("sql", query, "--store", URL, status=2), elsewhere
    assert there.dataset_name in here("store", "ls", "--store", URL)
    assert "whole" in here("store", "verify", "--store", URL)
    compared = compare_runs(URL, there.run_id, there.run_id, None)
    assert isinstance(compared.page, Remote)
    assert compared.page.is_file()
    assert "no results" in here("sql", "FROM runs", "--store", f"s3://{BUCKET}/empty", status=2)


def test_publishing_reads_no_table_again(server: S3Server, there: RunSummary) -> None:
    store = Store(URL)
    with remember_tables():
        ((manifest, _, _),) = read_runs(store)
        other = manifest.model_copy(update={"parameters": {**manifest.parameters, "seed": 7}})
        record_run(store, other, "some-flow-run", [])
        with server.counted() as requests:
            publish(store)
    assert len(requests) <= PUBLISHED, count_paths(requests)


def test_no_key_is_written_down(there: RunSummary, server: S3Server) -> None:
    filesystem = Store(URL).root.filesystem
    written = [filesystem.cat_file(path) for path in filesystem.find(URL)]
    assert len(written) > len(there.tables)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert server.environment[name] not in there.model_dump_json()
        assert not any(server.environment[name].encode() in data for data in written)


def test_credentials_in_a_url_are_refused_before_anything_sees_them(
    here: Callable[..., str],
) -> None:
    for arguments in (("sql", "FROM runs"), ("benchmark", "sixteen-photographs"), ("demo",)):
        said = here(*arguments, "--store", "s3://key:secret@bucket/x", status=2)
        assert "environment" in said
        assert "secret" not in said


def test_views_of_the_snapshot_read_the_bucket(there: RunSummary) -> None:
    with open_snapshot(there.snapshot) as connection:
        rows = connection.execute("SELECT count(*), bool_or(is_correct) FROM image_predictions")
        assert rows.fetchall()[0][1] is True
