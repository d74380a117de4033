"""Parquet files, with the bytes or the paths of images."""

import json
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.files import FilePart, find_file, is_inside, resolve_image_path
from tasks.datasets.labels import LabelSet, Problems, check_split
from tasks.runtime.errors import InputError

PARQUET = "parquet:"
IMAGE, PATH, LABEL, SPLIT = "image", "path", "label", "split"
EXPECTED = "expected the columns image (bytes) or path, and label, and optionally split"
# Reading one image reads its whole row group; so many bytes fit into memory beside an encoder.
MAX_GROUP_BYTES = 2**30


def open_parquet(path: Path, classnames: Path | None, split: str | None) -> Dataset:
    """Open a Parquet file, or a folder of them, with the bytes or paths of images, and labels.

    `image` holds bytes or {bytes, path}; `path` is relative to the folder. A label is a text, or
    the number of a class from 0. Raises InputError that names rows.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no .parquet files; {EXPECTED}.")
    root = path if path.is_dir() else path.parent
    columns = {file.name: _read_columns(file) for file in files}
    has_bytes = {IMAGE in table.column_names for _, table in columns.values()}
    if len(has_bytes) > 1:
        raise InputError(f"{path} mixes files with {IMAGE} and with {PATH}; use one kind.")
    rows = [
        (file.name, i, *row) for file in files for i, row in enumerate(_rows(columns[file.name][1]))
    ]
    if check_split(split, {row[4] for row in rows if row[4]}, path) is not None:
        rows = [row for row in rows if row[4] == split]
    labels = (
        LabelSet.read(classnames)
        if classnames
        else _declared_labels(columns[files[0].name][0])
        or LabelSet.of(row[3] for row in rows if row[3])
    )
    index = labels.index_of(row[3] for row in rows if row[3])
    problems = Problems(path, "row")
    folder = str(root.resolve())
    images = []
    for file, i, written, label, _ in rows:
        if label not in index:
            problems.add(i, f"unknown label {label!r}" if label else "no label")
        place, reason = (
            (f"{file}/{i}", None) if written is None else resolve_image_path(folder, written)
        )
        if reason:
            problems.add(i, reason)
        images.append(ImageEntry(place, index.get(label)))
    problems.raise_any()
    if not images:
        raise InputError(f"{path} has no rows; {EXPECTED}.")
    place = f"{PARQUET}{folder}" if has_bytes == {True} else folder
    return Dataset(f"parquet:{path.stem}", place, labels.class_names, images)


def read_parquet(root: str, name: str) -> FilePart | bytes:
    """The bytes of one row.

    name: `<file>/<row>`. A null gives no bytes, as an empty file, which is rejected later.
    """
    file, _, row = name.rpartition("/")
    if not is_inside(file) or not row.isdigit():
        raise FileNotFoundError(2, f"no row {name!r}")
    path = Path(root) / file
    starts = _read_group_starts(path, path.stat().st_mtime_ns)
    group = next((g for g in range(len(starts) - 1) if starts[g + 1] > int(row)), None)
    if group is None:
        raise FileNotFoundError(2, f"no row {name!r}")
    column = _read_group(path, group, path.stat().st_mtime_ns)
    value = column[int(row) - starts[group]].as_py()
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            return find_file(Path(root) / value["path"])
        value = value.get("bytes")
    return value or b""


def _read_columns(file: Path) -> tuple[pa.Schema, pa.Table]:
    """The schema, and a table of the small columns; an `image` column is empty in it."""
    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if LABEL not in names or not {IMAGE, PATH} & set(names):
                raise InputError(f"{file}: {EXPECTED}; found {', '.join(names)}.")
            _check_types(file, parquet.schema_arrow)
            small = [
                n for n in (PATH, LABEL, SPLIT) if n in names and (n != PATH or IMAGE not in names)
            ]
            table = parquet.read(columns=small)
            if IMAGE in names:
                _check_groups(file, parquet.metadata)
                table = table.append_column(IMAGE, pa.nulls(table.num_rows))
            return parquet.schema_arrow, table
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    except pa.ArrowException as error:
        raise InputError(f"{file} is not a Parquet file: {error}.") from error


def _check_types(file: Path, columns: pa.Schema) -> None:
    """Raise InputError where a column occurs twice, or `image` or `label` has another type."""
    for name in (IMAGE, PATH, LABEL, SPLIT):
        if columns.names.count(name) > 1:
            raise InputError(f"{file} has the column {name} twice; {EXPECTED}.")
    types = pa.types
    image = columns.field(IMAGE).type if IMAGE in columns.names else pa.binary()
    if types.is_struct(image) and "bytes" in {field.name for field in image}:
        image = image.field("bytes").type
    if not (types.is_binary(image) or types.is_large_binary(image)):
        raise InputError(
            f"{file}: image holds {image}, not bytes; for names of files call it path."
        )
    label = columns.field(LABEL).type
    if types.is_dictionary(label):
        label = label.value_type
    if not (types.is_string(label) or types.is_large_string(label) or types.is_integer(label)):
        raise InputError(f"{file}: label holds {label}, neither texts nor whole numbers.")


def _check_groups(file: Path, meta: pq.FileMetaData) -> None:
    sizes = [meta.row_group(g).total_byte_size for g in range(meta.num_row_groups)]
    if max(sizes, default=0) > MAX_GROUP_BYTES:
        raise InputError(
            f"{file} has a row group of {max(sizes) / 2**30:.1f} GiB, which is read whole for each "
            "image: write it again with row groups of 100 rows (row_group_size=100)."
        )


def _rows(table: pa.Table) -> list[tuple[str | None, str, str]]:
    """The path (None where the table has the bytes), label and split of every row, as texts."""
    columns = [
        ["" if v is None else str(v).strip() for v in table[name].to_pylist()]
        if name in table.column_names
        else [""] * table.num_rows
        for name in (PATH, LABEL, SPLIT)
    ]
    if IMAGE in table.column_names:
        return [(None, label, split) for _, label, split in zip(*columns, strict=True)]
    return list(zip(*columns, strict=True))


def _declared_labels(schema: pa.Schema) -> LabelSet | None:
    """The class names of numbered labels that Hugging Face `datasets` wrote into the file."""
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        names = facts["info"]["features"][LABEL]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return LabelSet.numbered(names, "the file's features")


@lru_cache(maxsize=256)
def _read_group_starts(path: Path, _modified: int) -> list[int]:
    """The first row of each row group, and at the end the number of rows."""
    meta = pq.read_metadata(path)
    starts = [0]
    for g in range(meta.num_row_groups):
        starts.append(starts[-1] + meta.row_group(g).num_rows)
    return starts


@lru_cache(maxsize=2)  # rows of a file that is read in order share row groups
def _read_group(path: Path, group: int, _modified: int) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as parquet:
        return parquet.read_row_group(group, columns=[IMAGE])[IMAGE]
