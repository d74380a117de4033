"""One run of all stages, and what a person is told of it."""

from pathlib import Path

from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from flows.config import BenchmarkSettings, Settings
from flows.describe import write_descriptions, writing_parameters
from flows.stages import Stages
from flows.texts import text_sources
from tasks.datasets.dataset import Dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.embed.identity import EncoderIdentity
from tasks.embed.sources import resolve_encoder
from tasks.score.methods import METHODS, choose_methods, text_kinds
from tasks.score.task import Results
from tasks.store.errors import InputError
from tasks.store.runs import RunManifest, StageTiming, record_run
from tasks.store.snapshot import publish
from tasks.store.tables import Store, TableRef


class RunSummary(BaseModel):
    """What a run was and where its results are."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    dataset_name: str
    class_count: int
    image_count: int
    rejected_count: int
    encoder_name: str
    encoder: EncoderIdentity
    texts: tuple[str, ...]
    store_root: str
    snapshot: Path
    tables: tuple[TableRef, ...]
    stages: tuple[StageTiming, ...]
    report: Path | None = None  # the page, where a flow made one

    def refs(self, table: str) -> list[TableRef]:
        """The run's tables of one kind."""
        return [ref for ref in self.tables if ref.table == table]


def run_stages(
    flow_name: str, settings: Settings, source: DataSource | FileSource, dataset: Dataset
) -> RunSummary:
    """Describe, embed, score and record: the body of every flow.

    Tasks are given `source`, which they open again: `dataset` may name a million images.
    """
    if settings.alpha > settings.beta:
        raise InputError(f"alpha {settings.alpha} must not be greater than beta {settings.beta}.")
    sources = text_sources(settings, dataset)
    methods = choose_methods(settings.methods, sources.kinds)
    encoder = resolve_encoder(settings.encoder, settings.precision, settings.device)
    store = Store(settings.store)
    stages = Stages(store, settings)

    indexed = stages.index(source)
    writing = (
        write_descriptions(stages.runner, indexed.classes, settings, dataset.name)
        if settings.llm
        else None
    )
    described = stages.describe(indexed, dataset.templates, sources, writing and writing.answers)
    texts = stages.embed_texts(described, text_kinds(methods), encoder)
    crops, undecodable = stages.embed_images(indexed, encoder)
    vectors, predictions = stages.score(
        described, texts, crops, methods, encoder.identity.dimension
    )
    results = stages.summarise(
        Results(
            images=indexed.images,
            classes=indexed.classes,
            predictions=tuple(predictions),
            undecodable=tuple(undecodable),
        )
    )

    manifest = RunManifest(
        flow_name=flow_name,
        dataset_name=dataset.name,
        encoder_name=settings.encoder,
        encoder=encoder.identity.model_dump(mode="json"),
        parameters={
            "methods": list(methods),
            **_deciding(settings),
            **(writing_parameters(writing, settings) if writing else {}),
        },
        image_count=results.image_count,
        rejected_count=results.rejected_count,
        tables=(
            indexed.images,
            indexed.classes,
            *([writing.answers] if writing else []),
            described,
            *texts,
            *crops,
            *undecodable,
            vectors,
            *predictions,
            *results.tables,
        ),
    )
    run_id = record_run(store, manifest, flow_run.get_id() or "none", stages.runner.timings)
    return RunSummary(
        run_id=run_id,
        dataset_name=dataset.name,
        class_count=len(dataset.class_names),
        image_count=results.image_count,
        rejected_count=results.rejected_count,
        encoder_name=settings.encoder,
        encoder=encoder.identity,
        texts=sources.named,
        store_root=str(store.root),
        snapshot=publish(store),
        tables=manifest.tables,
        stages=tuple(stages.runner.timings),
    )


def available_methods(
    settings: Settings, dataset: Dataset, wanted: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of some methods for which there will be texts."""
    kinds = text_sources(settings, dataset).kinds
    return tuple(name for name in wanted if METHODS[name].kind in kinds)


def _deciding(settings: Settings) -> dict[str, object]:
    """The parameters that decide numbers: a scale that is switched off is None."""
    selection = ("split", "limit", "per_class") if isinstance(settings, BenchmarkSettings) else ()
    return {
        **{name: getattr(settings, name) for name in selection},
        "alpha": settings.alpha,
        "beta": settings.beta,
        "pool": settings.pool,
        "crops": settings.crops,
        "runs": settings.runs,
        "seed": settings.seed,
        "image_scale": settings.image_scale if settings.image_weights else None,
        "text_scale": settings.text_scale if settings.text_weights else None,
    }
