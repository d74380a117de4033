"""Of a large data set the first shards, which are as good as drawn, stand for all of them."""

import pytest

from flows.pipeline.insights import Scored, _sample_shards
from tasks.datasets.index import IndexedDataset
from tasks.score import sample
from tasks.score.sample import count_sampled_shards
from tasks.score.statistics import Protocol, statistics_tables
from tasks.store.digest import bytes_digest, shards_by_digest
from tasks.store.tables import TableRef
from tests.score.conftest import IMAGES, RUNS, World


@pytest.mark.parametrize(
    ("labelled", "least", "expected"),
    [(40, 21, 16), (40, 20, 8), (39, 10, 8), (40, 10, 4), (0, 1, 16), (40, 1, 1)],
)
def test_so_many_images_are_sampled_or_up_to_twice_as_many(
    world: World, monkeypatch: pytest.MonkeyPatch, labelled: int, least: int, expected: int
) -> None:
    monkeypatch.setattr(sample, "LEAST_SAMPLED", least)
    images = world.unlabelled_from(labelled)
    assert count_sampled_shards(world.store, images, 16) == expected


def test_the_sample_is_the_same_whatever_the_size_of_a_shard() -> None:
    digests = [bytes_digest(bytes([number])) for number in range(200)]
    shards = {size: shards_by_digest(digests, size) for size in (10, 20, 40)}
    halves = {
        size: [digest for shard in found[: len(found) >> 1] for digest in shard]
        for size, found in shards.items()
    }
    assert halves[10] == halves[20] == halves[40]
    assert all(digest < "8" for digest in halves[10])


def test_calibration_rests_on_the_sample_and_accuracy_on_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "LEAST_SAMPLED", 20)
    inputs = {name: world.inputs[name] for name in ("images", "predictions")}
    made = statistics_tables(world.store, inputs, 0, Protocol(100, 60))
    first = world.store.read(world.inputs["predictions"][0])
    (row,) = made["calibration_errors"].to_pylist()
    assert row["prediction_count"] == sum(rank == 1 for rank in first["rank"].to_pylist())
    assert row["prediction_count"] < IMAGES * RUNS
    assert set(made["intervals"]["image_count"].to_pylist()) == {IMAGES}


def test_shards_are_aligned_and_explained_with_the_crops_that_they_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "LEAST_SAMPLED", 20)
    refs = [TableRef(table="crops", digest=f"{i}", row_count=1) for i in range(4)]
    (images,), (classes,) = world.inputs["images"], world.inputs["classes"]
    scored = Scored(
        indexed=IndexedDataset(root="", images=images, classes=classes),
        described=classes,
        texts=[],
        crops=refs,
        vectors=classes,
        predictions=refs,
        draws=[],
        crop_uses=[ref for ref in refs for _ in range(2)],
    )
    sampled = _sample_shards(world.store, scored)
    assert sampled.crops == sampled.predictions == refs[:2]
    assert sampled.crop_uses == [refs[0], refs[0], refs[1], refs[1]]
