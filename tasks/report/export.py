"""A run's results for a paper and for other programs: LaTeX tables, and one tidy CSV table."""

import csv
import io

from tasks.report.latex import latex_document
from tasks.report.page.queries import RunQueries, execute_query
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.runs import find_run
from tasks.store.tables import Store

# The flows whose runs have accuracy.
MEASURED_FLOWS = ("benchmark",)
CSV_COLUMNS = (
    *("table_name", "run_id", "dataset_name", "encoder_name", "method", "baseline_method"),
    *("image_side", "text_side", "step", "measure", "value", "low", "high", "run_sigma"),
    *("seed_sigma", "p_value", "p_holm", "test_count", "run_count", "image_count"),
)


def export_latex(store: Store, run: str) -> str:
    """Return the tables of a run as LaTeX: accuracy, the grid and its steps, every pair.

    run: the beginning of its name, or `last`. Raises InputError for an unknown run, and for one
    without accuracy.
    """
    run_id = find_run(store, run, MEASURED_FLOWS).run_id
    with open_snapshot(snapshot_path(store), run_id) as connection:
        return latex_document(RunQueries(connection, run_id))


def export_csv(store: Store, run: str) -> str:
    """Return every estimate of a run as CSV, a row each; run, errors: as of `export_latex`.

    table_name: the table that an estimate is from; columns that this table lacks are empty.
    """
    manifest = find_run(store, run, MEASURED_FLOWS)
    with open_snapshot(snapshot_path(store), manifest.run_id) as connection:
        rows = execute_query(connection, "paper/estimates", run_id=manifest.run_id).rows
    of_run = {
        "run_id": manifest.run_id,
        "dataset_name": manifest.dataset_name,
        "encoder_name": manifest.encoder_name,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **of_run} for row in rows)
    return text.getvalue()
