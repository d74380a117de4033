"""The stages that are measured: each does what the flow's task does, on stored tables."""

import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
from pydantic import TypeAdapter

from benchmarks.growth_parts.world import (
    DIMENSION,
    DRAWN,
    METHODS,
    POOL,
    RUNS,
    Size,
    World,
    run_parameters,
    write_world,
)
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import Shards, find_made

# Queries of docs/queries.md over all predictions or crops, by words of their questions.
QUESTIONS = {
    "disagree": "do WCA and CLIP disagree",
    "confidence": "sure is WCA",
    "margin": "should a person look at",
    "changes": "from draw to draw",
    "weights": "weight lie",
}
SECOND_RUN = "second run"
_DOCS = Path(__file__).resolve().parents[2] / "docs"
_REFS = TypeAdapter(dict[str, TableRef | tuple[TableRef, ...] | str])


class Run:
    """A run in a folder, whose stages find there what the stages before have made.

    deadline: on the clock of `time.monotonic`; stages of many tables then end, and go on later.
    is_again: all tables must be there.
    """

    def __init__(
        self, folder: Path, size: Size, deadline: float, *, is_again: bool = False
    ) -> None:
        self.folder, self.size, self.deadline, self.is_again = folder, size, deadline, is_again
        self.store = Store(folder / "store")

    def load(self, stage: str) -> Any:
        """What a stage has made."""
        return _REFS.validate_json((self.folder / f"{stage}.json").read_bytes())

    @property
    def world(self) -> World:
        """The tables of the run before it is scored."""
        return World(**self.load("write world"))

    @property
    def sampled_count(self) -> int:
        """The shards that a run aligns and explains."""
        from tasks.score.sample import count_sampled_shards

        return count_sampled_shards(self.store, self.world.images, len(self.world.crops))

    def make(self, stage: str, task: Any, recipes: Sequence[Recipe]) -> bool:
        """Make the tables of recipes until it is too late; those that are there are found."""
        if self.is_again:
            if None in find_made(task, self.store, recipes):
                raise ValueError(f"{stage}: the second run does not find all tables.")
            return True
        made = []
        for recipe in recipes:
            if made and time.monotonic() > self.deadline:
                return False
            made += task.fn(str(self.store.root), Shards([recipe]))
        named = {ref.table: tuple(refs[i] for refs in made) for i, ref in enumerate(made[0])}
        return self.save(stage, named)

    def save(self, stage: str, made: dict[str, Any]) -> bool:
        """Keep what a stage has made for the stages after it."""
        (self.folder / f"{stage}.json").write_bytes(_REFS.dump_json(made))
        return True


def run_stage(stage: str, folder: Path, size: Size, seconds: float) -> bool:
    """Run a stage in this process; whether it is done."""
    run = Run(folder, size, time.monotonic() + seconds)
    if stage.startswith("sql "):
        return _ask(run, QUESTIONS[stage.removeprefix("sql ")])
    return _STAGES[stage](run)


def _write_world(run: Run) -> bool:
    for world in write_world(run.store, run.size):
        if world:
            return run.save("write world", world._asdict())
        if time.monotonic() > run.deadline:
            return False
    return False


def _write_files(run: Run) -> bool:
    """Write as many small files, a folder for each class."""
    root = run.folder / "files"
    for number in range(run.size.images):
        place = root / f"class {number % run.size.classes}"
        if number < run.size.classes:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(number.to_bytes(8))
    return True


def _index(run: Run) -> bool:
    from tasks.datasets.index import index_dataset
    from tasks.datasets.settings import DataSource
    from tasks.datasets.sources import open_source

    dataset = open_source(DataSource(data=f"folder:{run.folder / 'files'}"))
    index_dataset(run.store, dataset)
    return True


def _weigh(run: Run) -> bool:
    from tasks.score.task import ClassVectorsRecipe, class_vectors

    world = run.world
    recipe = ClassVectorsRecipe(
        descriptions=world.descriptions,
        text_embeddings=world.text_embeddings,
        methods=METHODS,
        text_scale=2.0,
        dimension=DIMENSION,
    )
    return run.make("weigh texts", class_vectors, [recipe])


def _score(run: Run) -> bool:
    from tasks.score.task import PredictionsRecipe, score_shard

    (vectors,) = run.load("weigh texts")["class_vectors"]
    recipes = [
        PredictionsRecipe(
            crops=shard,
            class_vectors=vectors,
            image_scale=4.0,
            pool=POOL,
            crops_per_run=DRAWN,
            runs=RUNS,
            seed=0,
        )
        for shard in run.world.crops
    ]
    return run.make("score images", score_shard, recipes)


def _summarise(run: Run) -> bool:
    from tasks.score.task import ResultsRecipe, summarise_run

    world = run.world
    recipe = ResultsRecipe(
        images=world.images,
        classes=world.classes,
        predictions=run.load("score images")["predictions"],
        undecodable=world.undecodable,
    )
    return run.make("summarise", summarise_run, [recipe])


def _compare(run: Run) -> bool:
    from tasks.score.task import StatisticsRecipe, compare_methods

    recipe = StatisticsRecipe(
        images=run.world.images,
        predictions=run.load("score images")["predictions"],
        logit_scale=100.0,
        logit_bias=None,
        seed=0,
        pool=POOL,
        crops_per_run=DRAWN,
    )
    return run.make("compare methods", compare_methods, [recipe])


def _align(run: Run) -> bool:
    from tasks.score.task import AlignmentsRecipe, align_shard

    world = run.world
    recipes = [
        AlignmentsRecipe(
            images=world.images,
            crops=shard,
            descriptions=world.descriptions,
            text_embeddings=world.text_embeddings,
            seed=0,
        )
        for shard in world.crops[: run.sampled_count]
    ]
    return run.make("align images", align_shard, recipes)


def _summarise_alignments(run: Run) -> bool:
    from tasks.score.task import AlignmentSummaryRecipe, summarise_alignments

    recipe = AlignmentSummaryRecipe(**run.load("align images"))
    return run.make("summarise alignments", summarise_alignments, [recipe])


def _explain(run: Run) -> bool:
    from tasks.score.task import ExplanationsRecipe, explain_images

    world = run.world
    (vectors,) = run.load("weigh texts")["class_vectors"]
    recipe = ExplanationsRecipe(
        images=world.images,
        predictions=run.load("score images")["predictions"][: run.sampled_count],
        crops=world.crops[: run.sampled_count],
        class_vectors=vectors,
        descriptions=world.descriptions,
        text_embeddings=world.text_embeddings,
        image_scale=4.0,
        text_scale=2.0,
        count=12,
    )
    return run.make("explain images", explain_images, [recipe])


_MADE = (
    *("weigh texts", "score images", "summarise", "compare methods", "align images"),
    *("summarise alignments", "explain images"),
)


def _publish(run: Run) -> bool:
    from tasks.store.published.publish import publish
    from tasks.store.records import RunManifest
    from tasks.store.runs import record_run

    world = run.world
    tables = [*world[:3], *(ref for refs in world[3:] for ref in refs)]
    tables += [ref for name in _MADE for refs in run.load(name).values() for ref in refs]
    manifest = RunManifest(
        flow_name="benchmark",
        dataset_name="growth",
        encoder_name="synthetic",
        encoder={"precision": "bf16", "logit_scale": 100.0},
        parameters=run_parameters(),
        image_count=run.size.images,
        tables=tuple(tables),
        indexed={"root": "", "images": world.images.model_dump(mode="json")},
    )
    run_id = record_run(run.store, manifest, "again" if run.is_again else "growth", [])
    publish(run.store)
    return run.save("publish", {"run_id": run_id})


def _report(run: Run) -> bool:
    from tasks.report.page.mark import digest_inputs, is_made_of
    from tasks.report.page.report import render_report
    from tasks.store.published.snapshot import snapshot_path
    from tasks.store.seals import seal_page

    run_id, target = run.load("publish")["run_id"], run.folder / "report.html"
    inputs = digest_inputs(run.store, run_id)
    if not is_made_of(target, inputs):
        page = render_report(snapshot_path(run.store), run_id, lambda *_: None)  # no image is there
        target.write_text(seal_page(page, inputs), encoding="utf-8")
    return True


def _ask(run: Run, question: str) -> bool:
    """Answer a question of docs/queries.md; its rows are counted, as they come."""
    from tasks.store.published.snapshot import open_snapshot, snapshot_path

    text = (_DOCS / "queries.md").read_text(encoding="utf-8")
    found = re.search(rf"^## [^\n]*{question}.*?```sql\n(.*?)```", text, re.M | re.S)
    if found is None:
        raise ValueError(f"docs/queries.md has no question with the words {question!r}.")
    with open_snapshot(snapshot_path(run.store)) as connection:
        _count_rows(connection, found[1])
    return True


def _count_rows(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return sum(batch.num_rows for batch in connection.sql(query).to_arrow_reader())


def _run_again(run: Run) -> bool:
    """Do what a second run of the same does: index, find all tables, publish and report."""
    again = Run(run.folder, run.size, math.inf, is_again=True)
    is_indexed = (run.folder / "files").is_dir()
    for stage in (*(["index"] if is_indexed else []), *_MADE, "publish", "report"):
        started = time.perf_counter()
        _STAGES[stage](again)
        sys.stderr.write(f"second run, {stage}: {time.perf_counter() - started:.1f} s\n")
    return True


_STAGES: dict[str, Callable[[Run], bool]] = {
    "write world": _write_world,
    "write files": _write_files,
    "index": _index,
    "weigh texts": _weigh,
    "score images": _score,
    "summarise": _summarise,
    "compare methods": _compare,
    "align images": _align,
    "summarise alignments": _summarise_alignments,
    "explain images": _explain,
    "publish": _publish,
    "report": _report,
    SECOND_RUN: _run_again,
}
STAGES = (*_STAGES, *(f"sql {name}" for name in QUESTIONS))
BY_SHARD = ("write world", "score images", "align images")
PREPARING = ("write world", "write files")
