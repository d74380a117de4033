"""Hostile images and names: each costs itself alone, and is a row or is rejected with a reason."""

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.store.digest import file_digest
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import World
from tests.datasets.hostile import NAMES, hostile_images

IMAGES, CLASSES = 12, 6
# What a terminal takes for a command.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
_PREDICTED = """
SELECT image_digest, method, run_index, rank, class_id, score FROM predictions
WHERE image_digest IN (SELECT unnest(?)) ORDER BY ALL"""


def hostile_files(world: World, rng: random.Random) -> Iterator[Outcome]:
    """Classify photographs among files that are none: each photograph is classified as before."""
    reference = world.reference("classify")
    store = world.new_store(SCENARIOS["classify"])
    assert isinstance(store, Path)
    images = store.parent / "images"
    shutil.copytree(world.places["photos"], images)
    whole = [file_digest(path) for path in images.rglob("[0-9].jpg")]
    endings = (".jpg", ".png", ".gif", ".tiff", ".webp", ".heic")
    for i, data in enumerate(hostile_images(rng, IMAGES)):
        (images / f"hostile {i}{rng.choice(endings)}").write_bytes(data)
    (words,) = SCENARIOS["classify"].commands
    given = (str(images) if word == "{photos}" else word for word in words)
    faults = []
    world.finish(tuple(given), store)
    with (
        open_snapshot(snapshot_path(Store(reference.place))) as before,
        open_snapshot(snapshot_path(Store(store))) as after,
    ):
        expected = before.execute(_PREDICTED, [whole]).fetchall()
        if not expected or after.execute(_PREDICTED, [whole]).fetchall() != expected:
            faults.append("photographs have other predictions")
        count = "SELECT count(DISTINCT image_digest) FROM predictions"
        used = "SELECT count(*) FROM images WHERE image_digest IN (SELECT image_digest FROM "
        ((classified,),) = after.execute(f"{used}predictions)").fetchall()
        ((rejected,),) = after.execute("SELECT count(*) FROM rejected").fetchall()
        ((reasons,),) = after.execute(
            "SELECT count(*) FROM rejected WHERE reason LIKE '%.'"
        ).fetchall()
        ((distinct,),) = after.execute(count).fetchall()
    files = sum(path.is_file() for path in images.rglob("*"))
    if classified + rejected != files or reasons != rejected:
        faults.append(f"of {files} files {distinct} are classified, {rejected} rejected")
    if not faults:
        world.remove(store)
    for i in range(IMAGES):
        yield Outcome(f"image {i}", tuple(faults) if i == 0 else ())


def hostile_names(world: World, rng: random.Random) -> Iterator[Outcome]:
    """A benchmark with files and classes of hostile names: all are counted, none is obeyed."""
    store = world.new_store(SCENARIOS["benchmark"])
    assert isinstance(store, Path)
    images = store.parent / "images"
    photographs = sorted(Path(world.places["photos"]).rglob("[0-9].jpg"))
    names = [re.sub("[/\0]", "\u2215", name) for name in rng.sample(NAMES, CLASSES)]
    names = [f"a{name}" if name.startswith(".") else name for name in names]  # they are hidden
    for name in names:
        (images / name).mkdir(parents=True)
        for _ in range(2):
            photograph = rng.choice(photographs)
            target = f"{rng.choice(names)[:60]}{rng.randrange(100)}.jpg"
            shutil.copy(photograph, images / name / target)
    spoken = [name.replace("_", " ") for name in names]  # the classes of such folders
    texts = store.parent / "texts.json"
    texts.write_text(json.dumps({n: [f"Something like {n}.", n] for n in spoken}))
    before = {path.name for path in world.folder.iterdir()}
    words = (
        "benchmark",
        f"folder:{images}",
        "--descriptions",
        str(texts),
        *_settings(world, store),
    )
    job = world.begin(tuple(word.replace("{", "{{").replace("}", "}}") for word in words), store)
    status, said = world.forks.wait(job), job.read()
    faults = [] if status == 0 else [f"it ends with {status}: {said[-1000:]}"]
    if found := _CONTROLS.findall(said):
        faults.append(f"the terminal is sent {found!r}")
    if status == 0:
        with open_snapshot(snapshot_path(Store(store))) as snapshot:
            query = "SELECT class_name FROM classes ORDER BY class_id"
            classes = [name for (name,) in snapshot.execute(query).fetchall()]
            ((rows,),) = snapshot.execute("SELECT count(*) FROM images").fetchall()
        files = sum(path.is_file() for path in images.rglob("*"))
        if len(classes) != CLASSES or rows != files:
            faults.append(f"{files} files are {rows} rows, {CLASSES} classes are {classes}")
        for page in store.rglob("*.html"):
            text = page.read_text("utf-8")
            faults += [f"the page has {tag}" for tag in ("<img src=x", "alert(1)</") if tag in text]
    made = {path.name for path in world.folder.iterdir()} - before
    faults += [f"{name} was made outside of the store" for name in made]
    if not faults:
        world.remove(store)
    for i, name in enumerate(names):
        yield Outcome(ascii(name)[:60], tuple(faults) if i == 0 else ())


def _settings(world: World, store: Path) -> tuple[str, ...]:
    (words,) = SCENARIOS["benchmark"].commands
    start = words.index("--encoder")
    return tuple(w.format(**world.places, store=store) for w in words[start:])
