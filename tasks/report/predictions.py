"""The predictions of a run, one row for each file: for scripts, and for the terminal."""

import json
import sys
from pathlib import Path
from typing import TextIO

import duckdb
import pyarrow as pa

from tasks.methods.registry import METHODS, SETTLING, find_method, preferred_method
from tasks.runtime.errors import InputError
from tasks.store.place import atomic_path

_SQL = Path(__file__).parent / "predictions.sql"
_METHODS = "SELECT DISTINCT method FROM predictions WHERE run_id = $run_id"
# The flows whose runs predict.
PREDICTING_FLOWS = ("benchmark", "classify")
ENDINGS = (".csv", ".parquet", ".jsonl")
STANDARD_OUTPUT = "-"
ROWS_AT_ONCE = 1024


def read_predictions(
    connection: duckdb.DuckDBPyConnection, run_id: str, method: str | None = None
) -> pa.Table:
    """Read what a run predicts for each of its files, in their order; rejected files say why.

    connection: to the snapshot. method: of these rows; None: a row for each method. Of several runs
    of the protocol it is the first.
    """
    facts = pa.table(
        {
            "method": list(METHODS),
            "needs_crops": [method.needs_crops for method in METHODS.values()],
            "is_adaptive": [method.is_adaptive for method in METHODS.values()],
        }
    )
    connection.register("method_facts", facts)
    parameters = {"run_id": run_id, "method": method}
    query = _SQL.read_text(encoding="utf-8")
    return connection.sql(query, params=parameters).to_arrow_table()


def choose_scored_method(
    connection: duckdb.DuckDBPyConnection, run_id: str, method: str | None
) -> str:
    """Choose a method that a run has scored: by default that of `wca classify`, or the page's.

    Raises InputError where the run has not scored it, or no image.
    """
    scored = {name for (name,) in connection.execute(_METHODS, {"run_id": run_id}).fetchall()}
    default = SETTLING if SETTLING in scored else preferred_method(scored)
    chosen = find_method(method).name if method else default
    if not scored or chosen is None:
        raise InputError(f"Run {run_id[:12]} could use no image: name another run.")
    if chosen not in scored:
        raise InputError(
            f"Run {run_id[:12]} has not scored {chosen}: choose from {', '.join(sorted(scored))}."
        )
    return chosen


def check_output(output: str) -> None:
    """Raise InputError for an output whose format is not known, or whose folder is missing."""
    if output == STANDARD_OUTPUT:
        return
    path = Path(output)
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"--output {output}: name a file that ends in {', '.join(ENDINGS)}, or - for JSON "
            "Lines on standard output."
        )
    if not path.absolute().parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {path.absolute().parent}.")


def write_predictions(rows: pa.Table, output: str) -> None:
    """Write rows to a file whose ending says its format, or as JSON Lines to standard output."""
    if output == STANDARD_OUTPUT:
        _write_lines(rows, sys.stdout)
        return
    with atomic_path(Path(output)) as partial, duckdb.connect() as connection:
        relation = connection.from_arrow(rows)
        ending = Path(output).suffix.lower()
        if ending == ".csv":
            relation.write_csv(str(partial), header=True)
        elif ending == ".parquet":
            relation.write_parquet(str(partial))
        else:
            with partial.open("w", encoding="utf-8") as file:
                _write_lines(rows, file)


def _write_lines(rows: pa.Table, file: TextIO) -> None:
    """Write a JSON object a row."""
    for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE):
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
