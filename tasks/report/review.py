"""A run's predictions for programs in which people review them: FiftyOne, Label Studio, tables."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from tasks.datasets.readers import locate_file
from tasks.report.predictions import PREDICTING_FLOWS, choose_scored_method, read_predictions
from tasks.runtime.errors import InputError
from tasks.store.place import write_text
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.records import RunManifest
from tasks.store.runs import find_run
from tasks.store.tables import Store

Form = Literal["fiftyone", "label-studio", "csv"]
CSV_COLUMNS = (
    *("path", "label", "score", "probability", "margin", "runner_up_class_name"),
    *("predicted_class_name", "image_digest"),
)
Row = dict[str, Any]


class Review(NamedTuple):
    """The files that were written, how many predictions they hold, and what to do with them."""

    files: tuple[Path, ...]
    prediction_count: int
    advice: str


def export_review(
    store: Store, run: str, form: Form, output: Path, method: str | None = None
) -> Review:
    """Write the predictions of a run for a review; rejected files have none.

    run: the beginning of its name, or `last`. output: a folder, for `csv` a file. method: by
    default the one that `wca classify` takes, or else the page's. Raises InputError for an unknown
    run, a method that it has not scored, and images that are no files of their own.
    """
    manifest = find_run(store, run, PREDICTING_FLOWS)
    run_id = manifest.run_id
    with open_snapshot(snapshot_path(store), run_id) as connection:
        method = choose_scored_method(connection, run_id, method)
        predictions = read_predictions(connection, run_id, method)
        query = "SELECT class_name FROM classes WHERE run_id = $run_id ORDER BY class_id"
        names = [name for (name,) in connection.execute(query, {"run_id": run_id}).fetchall()]
    rows = [
        {**row, "path": _find_file(manifest, row["image_name"]), "label": row["prediction"]}
        for row in predictions.to_pylist()
        if row["prediction"] is not None
    ]
    labels = list(dict.fromkeys([*names, *(row["label"] for row in rows)]))  # unknown comes last
    write = {"fiftyone": _for_fiftyone, "label-studio": _for_label_studio, "csv": _as_csv}[form]
    texts, advice = write(rows, labels, output, f"{manifest.encoder_name} {method} {run_id[:12]}")
    for file, text in texts.items():
        write_text(file, text)
    return Review(tuple(texts), len(rows), advice)


def _find_file(manifest: RunManifest, name: str) -> str:
    """The absolute path of an image; a path of `wca classify` begins where that was started."""
    path = locate_file(str(manifest.indexed.get("root") or ""), name).absolute()
    if not path.is_file():
        raise InputError(
            f"There is no file {path}: start the export in the folder in which the run was "
            "started; images within tables and shards cannot be exported."
        )
    return str(path)


_Texts = tuple[dict[Path, str], str]


def _as_csv(rows: list[Row], _labels: list[str], output: Path, _model: str) -> _Texts:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return {output: text.getvalue()}, f"Correct the column label, then: wca benchmark csv:{output}"


def _for_fiftyone(rows: list[Row], labels: list[str], output: Path, model: str) -> _Texts:
    """FiftyOneImageClassificationDataset: labels.json, and data.json with the paths."""
    class_ids = {label: i for i, label in enumerate(labels)}
    keys = [f"{i:09}" for i in range(len(rows))]
    targets = {
        key: {
            "label": class_ids[row["label"]],
            "confidence": row["probability"],
            "attributes": {
                "model": model,
                **{name: row[name] for name in CSV_COLUMNS if name in row and name not in _OWN},
            },
        }
        for key, row in zip(keys, rows, strict=True)
    }
    paths = {key: row["path"] for key, row in zip(keys, rows, strict=True)}
    return {
        output / "data.json": _to_json(paths),
        output / "labels.json": _to_json({"classes": labels, "labels": targets}),
    }, (
        f"Import it: fiftyone datasets create --name review --dataset-dir {output} "
        "--type fiftyone.types.FiftyOneImageClassificationDataset"
    )


_OWN = {"path", "label", "probability"}  # which FiftyOne has fields for


def _for_label_studio(rows: list[Row], labels: list[str], output: Path, model: str) -> _Texts:
    """Tasks with predictions, of images that Label Studio serves, and the labelling interface."""
    folder = Path(os.path.commonpath([str(Path(row["path"]).parent) for row in rows] or ["/"]))
    tasks = [
        {
            "data": {
                "image": "/data/local-files/?d="
                + quote(Path(row["path"]).relative_to(folder.parent).as_posix())
            },
            "predictions": [
                {
                    "model_version": model,
                    "score": row["probability"],
                    "result": [
                        {
                            "from_name": "choice",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [row["label"]]},
                        }
                    ],
                }
            ],
        }
        for row in rows
    ]
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    interface = (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="choice" toName="image" choice="single">\n{choices}\n'
        "  </Choices>\n</View>\n"
    )
    return {output / "tasks.json": _to_json(tasks), output / "interface.xml": interface}, (
        "Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}, make a project with "
        f"interface.xml, add {folder} as its local storage, and import tasks.json."
    )


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
