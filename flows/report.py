"""The report flow: the page of a run that is there, written again from its tables."""

from typing import Annotated

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.artifacts import publish_report
from flows.runner import ONE_AT_A_TIME
from flows.store_setting import DEFAULT_STORE, Store
from tasks.datasets.index import IndexedDataset
from tasks.report.task import write_report, write_sweep
from tasks.score.methods import method_titles
from tasks.store.errors import InputError
from tasks.store.place import PlaceField
from tasks.store.retention import in_use
from tasks.store.runs import RunManifest, read_runs
from tasks.store.tables import Store as Tables

# The flows whose runs have a page.
WITH_PAGE = ("benchmark", "classify", "sweep")
LAST = "last"  # names are hexadecimal
SHOWN = 5  # runs that an error names


class ReportConfig(BaseModel):
    """Parameters of the report flow."""

    run: Annotated[
        str,
        Field(min_length=1, description="A run, the beginning of its name, or `last`."),
    ] = LAST
    store: Store = DEFAULT_STORE


class ReportSummary(BaseModel):
    """Whose page was written, and where it is."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    dataset_name: str
    report: PlaceField


@flow(
    name="report",
    flow_run_name="report on {config.run}",
    task_runner=ONE_AT_A_TIME,
    result_serializer="json",
)
def report(config: ReportConfig) -> ReportSummary:
    """Write the page of a run again, as after an update or where its images have come back."""
    store = Tables(config.store)
    with in_use(store):
        manifest = _find(store, config.run)
        root, run_id, titles = str(store.root), manifest.run_id, method_titles()
        if manifest.flow_name == "sweep":
            page = write_sweep(root, run_id, titles)
        else:
            indexed = IndexedDataset.model_validate(manifest.indexed)
            page = write_report(root, run_id, indexed, titles)
    publish_report(manifest.dataset_name, manifest.encoder_name or "", page)
    return ReportSummary(run_id=run_id, dataset_name=manifest.dataset_name, report=page)


def _find(store: Tables, given: str) -> RunManifest:
    """The one run whose name begins so, or the last; InputError that names runs where none fits."""
    runs = [run for run, _ in read_runs(store) if run.flow_name in WITH_PAGE]
    if not runs:
        raise InputError(f"There are no results in {store.root} yet: run `wca demo` first.")
    if given == LAST:
        return runs[-1]
    found = [run for run in runs if run.run_id.startswith(given)]
    if len(found) != 1:
        last = ", ".join(
            f"{run.run_id[:8]} ({run.dataset_name})" for run in runs[: -SHOWN - 1 : -1]
        )
        what = "Several runs' names begin" if found else "No run's name begins"
        raise InputError(f"{what} with {given!r}; the last runs are {last}.")
    return found[0]
