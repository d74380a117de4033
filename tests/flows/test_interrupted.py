"""What runs keep: images that are embedded are copied, and a killed run goes on."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.benchmark import benchmark
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.tables import Store
from tests.chaos.__main__ import KINDS
from tests.chaos.world import World
from tests.flows.conftest import contents
from tests.forks import forks

pytestmark = pytest.mark.usefixtures("prefect_server")
SEED = 5


@pytest.fixture(scope="module")
def world(
    prefect_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "temporary").mkdir()
    environment = {**prefect_server, "TMPDIR": str(folder / "temporary")}
    with forks(folder / "printed") as commands:
        yield World(folder, commands, environment)


def test_images_that_some_run_embedded_are_copied(
    config: BenchmarkConfig, photos: Path, tmp_path: Path
) -> None:
    import shutil

    first = benchmark(config)
    mine = tmp_path / "mine"
    shutil.copytree(photos, mine)
    data = (mine / "drink" / "1.jpg").read_bytes()
    (mine / "drink" / "new.jpg").write_bytes(data + b"\0")
    changes = {"data": f"folder:{mine}", "shard_size": 1000}  # one shard, which nobody has made
    more = benchmark(config.model_copy(update=changes))
    alone = benchmark(config.model_copy(update={**changes, "store": tmp_path / "alone"}))
    copied, embedded = (Store(s.store_root).read_all(s.refs("crops")) for s in (more, alone))
    assert copied == embedded
    before = Store(first.store_root).read_all(first.refs("crops"))
    assert copied.num_rows == before.num_rows + 1 + config.pool
    # a mark in a table of the first run turns up in what the next run copies from it
    store, ref = Store(first.store_root), first.refs("crops")[0]
    rows = store.read(ref)
    field = rows.schema.field("embedding")
    mark = [1.0, *[0.0] * (field.type.list_size - 1)]
    marks = pa.array([mark] * rows.num_rows, field.type)
    marked = rows.set_column(rows.schema.get_field_index(field.name), field, marks)
    columns = marked.schema.with_metadata(pq.read_schema(store.path(ref)).metadata)
    shutil.rmtree(store.root / "runs")  # whose records have the rows without the mark
    for made in (ref, more.refs("crops")[0]):
        store.path(made).unlink()
    store.write("crops", ref.digest, columns, marked.to_batches())
    again = benchmark(config.model_copy(update=changes))
    embeddings = Store(again.store_root).read_all(again.refs("crops"))["embedding"].to_pylist()
    assert embeddings.count(mark) == rows.num_rows


@pytest.mark.parametrize("shards_done", [0, 2])
def test_a_killed_run_goes_on_from_where_it_was(
    config: BenchmarkConfig, tmp_path: Path, shards_done: int, kill: Callable[..., None]
) -> None:
    whole = benchmark(config)
    killed = config.model_copy(update={"store": tmp_path / "killed"})
    crops = killed.store / "crops"

    def is_at_the_next_shard() -> bool:
        written = len(list(crops.glob("[!.]*.parquet")))
        return written >= shards_done and bool(list(crops.glob(".*.tmp")))

    kill(benchmark, killed, is_at_the_next_shard)
    done = {path.name: path.stat().st_mtime_ns for path in crops.glob("[!.]*.parquet")}
    assert len(done) < len(whole.refs("crops"))

    again = benchmark(killed)
    assert again.run_id == whole.run_id
    assert contents(again) == contents(whole)
    redone = [name for name, t in done.items() if (crops / name).stat().st_mtime_ns != t]
    assert len(redone) <= 1


def test_a_killed_shard_goes_on_with_its_finished_images(
    config: BenchmarkConfig,
    tmp_path: Path,
    kill: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.embed.encoder import Encoder

    config = config.model_copy(update={"shard_size": 1000, "store": tmp_path / "whole"})
    whole = benchmark(config)
    killed = config.model_copy(update={"store": tmp_path / "killed"})

    def count_pieces() -> int:
        return len(list((killed.store / "crops").glob("[!.]*.parquet")))

    every_image = "from tasks.embed import pieces\npieces.PIECE_SEC = 0.0\n"
    kill(benchmark, killed, lambda: count_pieces() >= 4, every_image)
    kept, encoded, encode = count_pieces(), [0], Encoder.encode_images

    def note(self: Encoder, pixels: Any, batch_size: int) -> Any:
        encoded[0] += len(pixels)
        return encode(self, pixels, batch_size)

    monkeypatch.setattr(Encoder, "encode_images", note)
    again = benchmark(killed)
    assert contents(again) == contents(whole)
    assert count_pieces() == 1  # those of the killed run are gone
    rows = sum(ref.row_count for ref in again.refs("crops"))
    assert encoded[0] == rows - kept * (1 + config.pool)


@pytest.mark.parametrize("kind", ["stop adaptive", "damage"])
def test_a_case_of_the_campaign_loses_nothing(
    kind: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make chaos` has many more, of all kinds."""
    monkeypatch.setattr("tempfile.tempdir", world.environment["TMPDIR"])
    outcomes = list(KINDS[kind](world, random.Random(SEED)))
    assert outcomes
    assert [outcome for outcome in outcomes if outcome.faults] == []
