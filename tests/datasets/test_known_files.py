"""Files that have not changed are not read again; those that have changed are."""

import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.datasets import files, index
from tasks.datasets.files import FileState, find_file
from tasks.datasets.index import index_dataset
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.store.damage import find_damaged_files
from tasks.store.digest import bytes_digest, file_digest
from tasks.store.retention import prune
from tasks.store.tables import Store, TableRef

_opened: list[str] | None = None  # of the files that are opened, while that is of interest


def _note(event: str, values: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(values[0]))


sys.addaudithook(_note)  # which cannot be removed


class World:
    """A folder of photographs and a store that indexes them."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.root, self.store = folder / "set", Store(folder / "store")
        shutil.copytree(photos, self.root)
        self.names = sorted(path.relative_to(self.root) for path in self.root.rglob("*.jpg"))
        self.data = f"folder:{self.root}"

    def index(self) -> tuple[TableRef, set[str]]:
        """Index; the table of images, and the files that were read, without the folder's path."""
        global _opened  # noqa: PLW0603 - of the one hook
        dataset = open_source(DataSource(data=self.data))
        _opened = opened = []
        images = index_dataset(self.store, dataset).images
        _opened = None
        start = f"{self.root}{os.sep}"
        return images, {path.removeprefix(start) for path in opened if path.startswith(start)}

    def index_anew(self) -> TableRef:
        """The table of images that a store makes which knows nothing."""
        dataset = open_source(DataSource(data=self.data))
        return index_dataset(Store(self.store.root / "new"), dataset).images

    def known(self) -> list[Path]:
        return sorted(Path(str(self.store.root)).glob("known_files/*.parquet"))


@pytest.fixture
def world(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "LEAST_FILES", 2)
    monkeypatch.setattr(index, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(files, "_SETTLED_NS", 0)
    made = World(tmp_path, photos)
    time.sleep(0.05)  # longer than a tick of the file system's clock
    return made


def test_unchanged_files_are_not_read_again(world: World) -> None:
    images, read = world.index()
    assert read == set(map(str, world.names))
    (table,) = world.known()
    for _ in range(2):
        assert world.index() == (images, set())
        assert world.known() == [table]
    assert list(find_damaged_files(world.store)) == []
    prune(world.store, None, 0.0, is_dry=False)
    assert world.index() == (images, read)


def _edit(path: Path) -> None:
    """Change one byte, and put size and time back."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(600)
        byte = file.read(1)[0]
        file.seek(600)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    """Put another file of the same size and time in its place, as `rsync --times` does."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    _edit(other)
    other.replace(path)


def _exchange(path: Path) -> None:
    """Let two files take each other's names."""
    first = min(path.parent.glob("*.jpg"))
    first.rename(path.with_name("held"))
    path.rename(first)
    path.with_name("held").rename(path)


@pytest.mark.parametrize("change", [_edit, _replace, _exchange, Path.touch])
def test_a_changed_file_is_read_again(world: World, change: Callable[[Path], None]) -> None:
    before, _ = world.index()
    name = world.names[-1]
    change(world.root / name)
    time.sleep(0.05)
    images, read = world.index()
    assert str(name) in read
    assert len(read) == (2 if change is _exchange else 1)
    assert images == world.index_anew()
    assert (images == before) == (change is Path.touch)
    assert world.index() == (images, set())
    assert len(world.known()) == 1


def test_new_files_and_fewer_files(world: World) -> None:
    world.index()
    first, *_, last = world.names
    shutil.copy2(world.root / last, world.root / first.with_name("added.jpg"))
    (world.root / first).unlink()
    time.sleep(0.05)
    images, read = world.index()
    assert read == {str(first.with_name("added.jpg"))}
    assert images == world.index_anew()
    dataset = open_source(DataSource(data=world.data, limit=3))
    index_dataset(world.store, dataset)  # a sample forgets nothing of the others
    assert world.index() == (images, set())


def test_a_file_that_was_changed_a_moment_ago_is_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SETTLED_NS", 3600 * 10**9)
    images, read = world.index()
    assert world.index() == (images, read)
    assert world.known() == []


def _flip(table: Path) -> None:
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)


def _rewrite(table: Path) -> None:
    """Other digests, with the footer's keys as they were."""
    rows = pq.read_table(table)
    column = rows.schema.get_field_index("image_digest")
    digests = rows["image_digest"].combine_chunks()
    other = rows.set_column(column, "image_digest", digests.take(list(range(len(rows)))[::-1]))
    pq.write_table(other.replace_schema_metadata(rows.schema.metadata), table)


def _empty(table: Path) -> None:
    table.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "small_bytes"), [(_flip, 1 << 20), (_rewrite, 1 << 20), (_rewrite, 0), (_empty, 0)]
)
def test_an_altered_table_is_not_believed(
    world: World,
    damage: Callable[[Path], None],
    small_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("tables", "footer"):
        monkeypatch.setattr(f"tasks.store.{module}.SMALL_BYTES", small_bytes)
    images, read = world.index()
    (table,) = world.known()
    damage(table)
    assert world.index() == (images, read)
    assert world.index() == (images, set())


def test_a_state_tells_changes_where_its_clock_is_fine_enough() -> None:
    second = 10**9
    state = FileState(1, 2, 3, 5 * second + 1)
    assert state.tells_changes(16 * second)
    assert not state.tells_changes(15 * second)  # another change may have the same time
    assert not state._replace(changed_ns=5 * second).tells_changes(16 * second)


def test_a_file_that_is_exchanged_while_it_is_read_is_not_known(world: World) -> None:
    first, second = (world.root / name for name in world.names[:2])
    found = find_file(first)
    assert found.digest() == (bytes_digest(first.read_bytes()), True)
    second.replace(first)
    assert not found.digest()[1]


def test_odd_times_and_a_store_that_cannot_keep_the_table_are_no_errors(world: World) -> None:
    os.utime(world.root / world.names[0], ns=(0, 2**63))
    os.utime(world.root / world.names[1], ns=(0, -1))
    time.sleep(0.05)
    images, _ = world.index()
    assert world.index() == (images, set())
    folder = Path(str(world.store.root)) / "known_files"
    shutil.rmtree(folder)
    folder.touch()
    assert world.index() == (images, set(map(str, world.names)))


def test_a_table_of_other_columns_is_not_believed(world: World) -> None:
    images, read = world.index()
    (path,) = world.known()
    rows = pq.read_table(path)
    path.unlink()
    fewer = rows.drop_columns(["size_bytes"])
    world.store.write("known_files", "a" * 64, fewer.schema, fewer.to_batches())
    assert world.index() == (images, read)
    assert world.index() == (images, set())


def test_a_shard_is_read_again_where_it_has_changed(world: World, photos: Path) -> None:
    shards = world.root.with_name("shards")
    shards.mkdir()
    for number, names in enumerate((world.names[:7], world.names[7:])):
        with tarfile.open(shards / f"s-{number}.tar", "w") as shard:
            for name in names:
                flat = str(name).replace("/", "_")
                label = shards / f"{flat.removesuffix('.jpg')}.cls"
                label.write_text(name.parts[0])
                shard.add(world.root / name, flat)
                shard.add(label, label.name)
                label.unlink()
    time.sleep(0.05)
    world.data, world.root = f"wds:{shards}", shards
    images, _ = world.index()
    assert len(pq.read_table(world.known()[0])) == len(world.names)
    assert world.index() == (images, set())
    _edit(shards / "s-1.tar")
    images, read = world.index()
    assert read == {"s-1.tar"}
    assert images == world.index_anew()
    dataset = open_source(DataSource(data=world.data))
    times = (shards / "s-0.tar").stat()
    with tarfile.open(shards / "s-0.tar", "w") as shard:  # the same names in another order and time
        for name in reversed(world.names[:7]):
            shard.add(photos / name, str(name).replace("/", "_"))
    os.utime(shards / "s-0.tar", ns=(times.st_atime_ns, times.st_mtime_ns))
    time.sleep(0.05)
    images = index_dataset(world.store, dataset).images
    assert images == index_dataset(Store(shards / "new"), dataset).images
    assert images.content == index_dataset(world.store, dataset).images.content
    digests = world.store.read(images)["image_digest"].to_pylist()
    assert digests[:7] == [file_digest(photos / name) for name in world.names[:7]]
