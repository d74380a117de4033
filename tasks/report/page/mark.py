"""What decides a run's page: one that would be the same again is not made again.

That would take a second. The last line of a page says what it is made of.
"""

from importlib import metadata
from pathlib import Path

from tasks.store.digest import bytes_digest, digest_of
from tasks.store.place import Place, list_files
from tasks.store.records import read_records, runs_folder
from tasks.store.runs import library_versions
from tasks.store.seals import seal_page
from tasks.store.tables import Store

_TASKS = Path(__file__).resolve().parents[2]
_LIBRARIES = ("altair", "jinja2", "vl-convert-python")  # beside those that can change numbers


def digest_inputs(store: Store, run_id: str) -> str:
    """Compute the digest of what decides the page of a run whose images are all there.

    These are the run's record, its first execution, the code of all tasks, and libraries.
    """
    folder = runs_folder(store) / run_id
    files = list_files(runs_folder(store), f"{run_id}/*.json")
    records = read_records(store, [file.place for file in files])
    executions = records.executions.get(folder, [])
    manifest = records.manifests.get(folder)
    code = sorted(file for file in _TASKS.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return digest_of(
        [
            manifest and manifest.model_dump(mode="json"),
            min(((e.finished_at, e.model_dump_json()) for e in executions), default=None),
            {str(file.relative_to(_TASKS)): bytes_digest(file.read_bytes()) for file in code},
            {**library_versions(), **{name: metadata.version(name) for name in _LIBRARIES}},
        ]
    )


def is_made_of(place: Place, inputs: str) -> bool:
    """Whether there is a page that was made of these inputs, and has not been altered."""
    try:
        text = place.read_bytes().decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return text == seal_page(text.rpartition("\n<!--")[0], inputs)
