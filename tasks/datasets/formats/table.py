"""CSV files, with one line per image."""

import csv
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.dataset import Dataset, ImageEntry, class_index
from tasks.datasets.files import read_text, resolve_image_path
from tasks.datasets.labels import LabelSet, Problems, check_split
from tasks.runtime.errors import InputError

EXPECTED = "expected the columns path and label, and optionally split"


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


def open_csv(path: Path, classnames: Path | None, split: str | None) -> Dataset:
    """Open a CSV file (.tsv: with tabs) with the columns path and label, and optionally split.

    Paths are absolute or relative to the folder of the file. Raises one InputError for all lines
    that cannot be read, whose file is missing or whose label is unknown.
    """
    problems = Problems(path)
    rows = _read_rows(path, problems)
    splits = {row.split for row in rows if row.split}
    if check_split(split, splits, path) is not None:
        rows = [row for row in rows if row.split == split]
    labels = LabelSet.read(classnames) if classnames else LabelSet.of(r.label for r in rows)
    index = labels.index_of(row.label for row in rows)
    folder = str(path.resolve().parent)
    images = []
    for row in rows:
        if row.label not in index:
            problems.add(row.line, f"unknown label {row.label!r}")
        name, problem = resolve_image_path(folder, row.path)
        if problem:
            problems.add(row.line, problem)
        images.append(ImageEntry(name, index.get(row.label)))
    problems.raise_any()
    if not images:
        raise InputError(f"{path} lists no images; {EXPECTED}.")
    return Dataset(f"csv:{path.stem}", folder, labels.class_names, images)


def _read_rows(path: Path, problems: Problems) -> list[_Row]:
    tabs = path.suffix.lower() == ".tsv"
    lines = read_text(path).splitlines(keepends=True)
    reader = csv.reader(lines, delimiter="\t" if tabs else ",", skipinitialspace=True, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if "path" not in header or "label" not in header:
            raise InputError(f"{path}, line 1: {EXPECTED}; found {', '.join(header) or 'nothing'}.")
        class_index(header, f"{path}, line 1,")
        positions = {
            name: header.index(name) for name in ("path", "label", "split") if name in header
        }
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.add(reader.line_num, f"{len(cells)} columns instead of {len(header)}")
                continue
            cell = {name: cells[i].strip() for name, i in positions.items()}
            if not cell["path"] or not cell["label"]:
                problems.add(reader.line_num, "no path" if not cell["path"] else "no label")
                continue
            rows.append(_Row(reader.line_num, cell["path"], cell["label"], cell.get("split", "")))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows
