"""The report flow: the page of a run that is there, written again from its tables."""

from pydantic import BaseModel, ConfigDict

from flows.pipeline.artifacts import publish_report
from flows.pipeline.runner import pipeline_flow
from flows.settings.report import WITH_PAGE, ReportConfig
from tasks.datasets.index import IndexedDataset
from tasks.report.task import write_report, write_sweep
from tasks.store.place import PlaceField
from tasks.store.published.publish import publish, publish_all
from tasks.store.records import run_files
from tasks.store.retention import prevent_pruning
from tasks.store.runs import LAST, find_run
from tasks.store.tables import Store


class ReportSummary(BaseModel):
    """Whose page was written, and where it is."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    dataset_name: str
    report: PlaceField


@pipeline_flow("report", run_name="report on {config.run}")
def report(config: ReportConfig) -> ReportSummary:
    """Write the page of a run again, as after an update or where its images have come back."""
    store = Store(config.store)
    with prevent_pruning(store):
        # a snapshot may be lost or altered, or older than the run, or of another place
        if config.run == LAST and run_files(store):
            publish_all(store)
        manifest = find_run(store, config.run, WITH_PAGE)
        if config.run != LAST:
            publish(store, [manifest.run_id])
        root, run_id = str(store.root), manifest.run_id
        if manifest.flow_name == "sweep":
            page = write_sweep(root, run_id)
        else:
            indexed = IndexedDataset.model_validate(manifest.indexed)
            page = write_report(root, run_id, indexed)
    publish_report(manifest.dataset_name, manifest.encoder_name or "", page)
    return ReportSummary(run_id=run_id, dataset_name=manifest.dataset_name, report=page)
