"""What a flow writes down of its run when it is over."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prefect.runtime import flow_run

from flows.pipeline.runner import StageRunner
from flows.settings.benchmark import BenchmarkSettings
from flows.settings.classify import ClassifySettings
from flows.settings.run import Settings
from tasks.datasets.index import IndexedDataset
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderSource, Resampling
from tasks.methods.options import select_options
from tasks.methods.registry import SETTLING
from tasks.score.settings import ScoreSettings
from tasks.store.digest import file_digest
from tasks.store.place import Place
from tasks.store.published.publish import publish
from tasks.store.records import RunManifest, StageTiming
from tasks.store.runs import record_run
from tasks.store.tables import TableRef


class Recorded(NamedTuple):
    """A run's name, and the snapshot that holds it."""

    run_id: str
    snapshot: Place


def manifest_of(
    flow_name: str,
    dataset_name: str,
    settings: Settings,
    encoder: EncoderSource,
    resampling: Resampling,
    indexed: IndexedDataset,
    parameters: Mapping[str, object],
    tables: Sequence[TableRef],
    rejected_count: int = 0,
    command: str = "",
    point_tables: Sequence[TableRef] = (),
) -> RunManifest:
    """The manifest of a run over images; parameters: those that are the flow's own."""
    return RunManifest(
        flow_name=flow_name,
        dataset_name=dataset_name,
        encoder_name=settings.encoder,
        encoder=encoder.describe(),
        parameters={**_deciding_parameters(settings), "resampling": resampling, **parameters},
        command=command,
        indexed=indexed.model_dump(mode="json"),
        image_count=indexed.images.row_count,
        rejected_count=rejected_count,
        tables=(indexed.images, indexed.classes, *tables),
        point_tables=tuple(dict.fromkeys(point_tables)),
    )


def method_parameters(methods: Sequence[str], settings: ScoreSettings) -> dict[str, object]:
    """The parameters of a run that say which methods it scores, on which crops, with which options.

    Those that decide nothing in the run are left out.
    """
    options = select_options(methods, settings.method_option)
    chosen = {owner: values.model_dump(mode="json") for owner, values in options.items()}
    return {
        "methods": list(methods),
        **({"agreement": settings.agreement} if SETTLING in methods else {}),
        **({"crop_order": "weight"} if settings.crop_count is not None else {}),
        **({"method_options": chosen} if chosen else {}),
    }


def record(
    runner: StageRunner, manifest: RunManifest, timings: Sequence[StageTiming] | None = None
) -> Recorded:
    """Write down that the flow's run has finished, and have the snapshot show it.

    timings: of its stages, by default those that the runner noted.
    """
    stages = runner.timings if timings is None else timings
    execution, store = flow_run.get_id() or "none", runner.store
    run_id = record_run(store, manifest, execution, stages, runner.recorded)
    return Recorded(run_id, publish(store))


def _deciding_parameters(settings: Settings) -> dict[str, object]:
    """The settings that decide numbers; a scale that is switched off is None."""
    selection = ("split", "limit", "per_class") if isinstance(settings, BenchmarkSettings) else ()
    threshold = settings.threshold if isinstance(settings, ClassifySettings) else None
    return {
        **{name: getattr(settings, name) for name in selection},
        **settings.part(CropParameters).model_dump(),
        **_file_digests(settings),
        "crops": settings.crops,
        "runs": settings.runs,
        "image_scale": settings.used_image_scale,
        "text_scale": settings.used_text_scale,
        **({"threshold": threshold} if threshold is not None else {}),
    }


def _file_digests(settings: Settings) -> dict[str, object]:
    """Which names and templates were given, by what the files hold; those not given are left out.

    So the names of runs without stay what they were, and a file that is moved changes no name.
    """
    files = {name: getattr(settings, name, None) for name in ("classnames", "templates")}
    return {name: file_digest(path)[:12] for name, path in files.items() if path}
