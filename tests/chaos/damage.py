"""Files of a store are altered: verify finds and names each; repair and the same commands mend."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.damage import find_damaged_files
from tasks.store.published.publications import read_latest
from tasks.store.tables import Store
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.state import judge
from tests.chaos.world import World

ALTERED_EACH = 6  # files that are altered and put back, one at a time
ALTERED_AT_ONCE = 3  # which are then repaired
OF_STORES = ("two seeds", "describe", "inbox", "sweep")


def damage(world: World, rng: random.Random) -> Iterator[Outcome]:
    """Alter files of a finished store, one at a time, then several, which are repaired."""
    name = rng.choice(OF_STORES)
    scenario, reference = SCENARIOS[name], world.reference(name)
    place = world.new_folder() / "store"
    world.copy(name, place)
    files = _list_by_kind(place)
    for _ in range(ALTERED_EACH):
        file = rng.choice(files[rng.choice(sorted(files))])
        whole = file.read_bytes()
        how = alter_file(file, rng)
        found = _find(place)
        is_found = any(file.name in line or f"{file.parent} has lost" in line for line in found)
        is_same = is_found or _reads_alike(file, whole)
        fault = () if is_same else (f"verify does not name {file}: it says {found}",)
        yield Outcome(f"{name}: {how} {file.relative_to(place)}", fault)
        file.write_bytes(whole)
    if name == "inbox":  # whose images are done: nothing classifies them again
        return
    kinds = rng.sample(sorted(files), ALTERED_AT_ONCE)
    # alone: answers asked for again, of another time, are refused for a table that is made again
    kinds = [kind for kind in kinds if kind.startswith("replies")] or kinds
    chosen = [rng.choice(files[kind]) for kind in kinds]
    did = [f"{alter_file(file, rng)} {file.relative_to(place)}" for file in chosen]
    job = world.begin(("store", "repair", "--store", "{store}"), place)
    status = world.forks.wait(job)
    faults = [] if status == 0 else [f"repair ends with {status}: {job.read()[-1000:]}"]
    for words in scenario.commands:
        world.finish(words, place)
    more, left = judge(Store(place), reference.state, scenario.is_dated)
    faults += more
    if not faults:
        world.remove(place)
    yield Outcome(f"{name}: repaired after {', '.join(did)}", tuple(faults), left)


def alter_file(file: Path, rng: random.Random) -> str:
    """Flip a bit of a file, cut it, empty it or delete it; says what was done.

    Nothing says that a page must be there.
    """
    data = file.read_bytes()
    at, bit = rng.randrange(len(data)), rng.randrange(8)
    is_page = file.suffix in (".html", ".png")
    how = rng.choice(["flip", "flip", "flip", "cut", "empty", *([] if is_page else ["delete"])])
    if how == "delete":
        file.unlink()
        return "deleted"
    flipped = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    file.write_bytes({"flip": flipped, "cut": data[:at], "empty": b""}[how])
    return {"flip": f"bit {bit} of byte {at} of", "cut": f"cut at {at}", "empty": "emptied"}[how]


def _find(store: Path) -> list[str]:
    return [f"{place} {reason}" for place, reason in find_damaged_files(Store(store))]


def _list_by_kind(store: Path) -> dict[str, list[Path]]:
    """The files of a store that something reads, by folder and ending."""
    kinds: dict[str, list[Path]] = {}
    latest = read_latest(Store(store))
    assert latest.publication
    parts = {ref.uri for part in latest.publication.parts for ref in part.tables}
    read = {store / "published" / uri for uri in (*parts, f"log/{latest.number:012}.json")}
    for path in sorted(store.rglob("*")):
        is_retired = path.is_relative_to(store / "published") and path not in read
        if path.is_file() and path.stat().st_size and not is_retired:
            folder = path.relative_to(store).parts[0]
            kind = path.name.partition("-")[0] if folder == "runs" else path.suffix
            kinds.setdefault(f"{folder} {kind}", []).append(path)
    return kinds


def _reads_alike(file: Path, whole: bytes) -> bool:
    """Whether an altered file says the same to its readers: padding may hold anything."""
    return file.is_file() and _read(file.suffix, file.read_bytes()) == _read(file.suffix, whole)


def _read(suffix: str, data: bytes) -> object:
    if suffix == ".json":
        try:
            return json.loads(data)
        except ValueError:
            return data
    if suffix != ".parquet":
        return data
    try:
        rows = pq.ParquetFile(pa.BufferReader(data)).read()
        shown = duckdb.from_arrow(rows).fetchall()
    except (OSError, pa.ArrowException, duckdb.Error, ValueError):
        return data
    return rows.schema.names, rows.to_pylist(), shown
