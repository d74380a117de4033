"""How many crops are enough: agreement with the whole pool, and time, against encodings.

    python benchmarks/budget.py [--data sixteen-photographs] [--descriptions FILE]
        [--classnames FILE] [--encoder photo-lite] [--crop-strategy random] [--seeds 10]
        [--rounds 3] [--keep FOLDER] [--time-encoder random]

For each seed the whole pool of every image is embedded, once: with `--keep` it is read from there
the next time. From these embeddings come the rows of a table, each over all seeds: so many crops
drawn at random in 20 runs, so many in the order of their weight, and as many as settle a class at
three wanted agreements. `same` is the share of images, or of images and runs, whose class is the
whole pool's; its interval is over images, the seeds of one taken together. Without labels there is
no accuracy.

Then images are timed from JPEG to predictions, with the whole pool and with as many crops as settle
their class at 0.995, in turns; what is printed are the medians of the rounds and of their ratios.
`--time-encoder` takes another encoder for this (`random`: ViT-B/32 with random weights), whose
images are told to stop where the measured one's did: that is the speed of the path, not the rule.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks.shared.inputs import random_encoder
from tasks.datasets.files import read_json
from tasks.datasets.readers import read_bytes
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.describe.texts import class_texts
from tasks.embed.choice import ChosenCrops, sees_square
from tasks.embed.crop_use import READ_COLUMNS, CropRule, crop_use_rows
from tasks.embed.crops import CropParameters, Layout, Strategy
from tasks.embed.encoder import Encoder
from tasks.embed.identity import EncoderSource
from tasks.embed.images import Images, NeededCrops, WholePool, embed_images
from tasks.embed.sources import resolve_encoder
from tasks.methods.adaptive import StopRule
from tasks.methods.wca import IMAGE_SCALE, RUNS, TEXT_SCALE, WEIGHTED_DESCRIPTIONS, draw_counts
from tasks.runtime.errors import InputError
from tasks.runtime.heap import keep_freed_memory
from tasks.runtime.threads import cores
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.intervals import mean_interval
from tasks.score.predict import NOT_CHOSEN, CropsInUse, predict
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

COUNTS = (100, 60, 30, 20)
AGREEMENTS = (0.95, 0.99, 0.995)
Choose = Callable[[Layout], NeededCrops]


@dataclass(frozen=True)
class Work:
    """Images by digest, their labels, an encoder, and WCA's vector of each class."""

    files: Mapping[str, bytes]
    labels: Mapping[str, int | None]
    encoder: Encoder
    source: EncoderSource
    classes: NDArray[np.float32]

    def embed(self, parameters: CropParameters, choose: Choose = WholePool) -> pa.Table:
        """Embed all images: their rows of `crops`."""
        rejected: list[dict[str, object]] = []
        images = Images(
            list(self.files), self.files.__getitem__, parameters, rejected, cores(), choose
        )
        size = min(self.encoder.batch_size, 1 + parameters.pool)
        return pa.Table.from_batches(list(embed_images(images, self.encoder, size)))

    def use(self, crops: pa.Table, parameters: CropParameters, rule: CropRule) -> pa.Table:
        """Choose the crops of each image: its rows of `crop_use`."""
        batches = crops.select(READ_COLUMNS).to_batches()
        is_square = sees_square(self.source.identity)
        rows = crop_use_rows(batches, parameters, rule, is_square=is_square)
        return pa.Table.from_batches(list(rows))

    def rule(self, agreement: float) -> CropRule:
        """The rule that settles classes."""
        return CropRule(IMAGE_SCALE, stop=StopRule(self.classes, IMAGE_SCALE, agreement))

    def classify(
        self, crops: pa.Table, counts: torch.Tensor, used: Iterable[pa.Table] = ()
    ) -> NDArray[np.int32]:
        """Find the class of each image in each run, `(images, runs)`, in the order of `crops`."""
        chosen = CropsInUse.from_rows(used)
        method = "wca" if chosen.settled is None else "wca_adaptive"
        rows = [
            pa.array([method] * len(self.classes)),
            pa.array(range(len(self.classes)), pa.int32()),
            embedding_array(self.classes),
        ]
        vectors = pa.Table.from_arrays(rows, schema=schema("class_vectors", rows[2].type.list_size))
        batches = crops.select(VIEW_COLUMNS).to_batches()
        table = pa.Table.from_batches(
            list(predict(batches, vectors, counts, IMAGE_SCALE, chosen=chosen or NOT_CHOSEN))
        )
        best = table["class_id"].to_numpy()[table["rank"].to_numpy() == 1]
        return best.reshape(crops["image_digest"].combine_chunks().unique().__len__(), -1)


@dataclass
class Setting:
    """What one setting gave: per seed the encodings of an image, and per image shares 0-1."""

    encodings: list[float]
    same: list[NDArray[np.float64]]
    right: list[NDArray[np.float64]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", default="sixteen-photographs")
    parser.add_argument("--descriptions", type=Path)
    parser.add_argument("--classnames", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--encoder", default="photo-lite")
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--crop-strategy", choices=get_args(Strategy), default="random")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="of the timing; 0: none")
    parser.add_argument("--keep", type=Path, help="folder of embeddings")
    parser.add_argument("--time-encoder", help="an encoder, or random")
    options = parser.parse_args()
    keep_freed_memory()
    work = prepare(options)
    settings: dict[str, Setting] = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        parameters = _parameters(options, seed)
        measure(work, read_pool(work, parameters, options.keep), parameters, settings)
        print(f"seed {seed} measured", flush=True)
    print_settings(settings, has_labels=None not in work.labels.values())
    if options.rounds:
        time_path(work, options)


def prepare(options: argparse.Namespace) -> Work:
    """Open the data, load the encoder and weigh the texts."""
    dataset = open_source(
        DataSource(data=options.data, classnames=options.classnames, limit=options.limit)
    )
    path = options.descriptions or dataset.descriptions
    if path is None:
        raise InputError("WCA needs --descriptions FILE.")
    files, labels = {}, {}
    for image in dataset.images:
        data = read_bytes(dataset.root, image.name)
        files[digest := bytes_digest(data)] = data
        labels[digest] = image.class_id
    source = resolve_encoder(options.encoder, "auto", "cpu")
    encoder = Encoder(source)
    texts = [
        text
        for text in class_texts(dataset.class_names, (), 0, read_json(path))
        if text.kind in ("label", "description")
    ]
    embedded = encoder.encode_texts([text.text for text in texts])
    vectors = []
    for class_id in range(len(dataset.class_names)):
        rows = [i for i, text in enumerate(texts) if text.class_id == class_id]
        label, *described = embedded[rows]
        vectors.append(WEIGHTED_DESCRIPTIONS.vector(label, torch.stack(described), TEXT_SCALE))
    classes = torch.stack(vectors).float().numpy()
    return Work(dict(sorted(files.items())), labels, encoder, source, classes)


def read_pool(work: Work, parameters: CropParameters, folder: Path | None) -> pa.Table:
    """Embed the whole pools of a seed, or read them from a folder where they are kept."""
    if folder is None:
        return work.embed(parameters)
    key = [work.source.identity.model_dump(), parameters.model_dump(), list(work.files)]
    path = folder / f"crops-{parameters.seed}-{digest_of(key)[:12]}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(work.embed(parameters), path)
    return pq.read_table(path)


def measure(
    work: Work, crops: pa.Table, parameters: CropParameters, settings: dict[str, Setting]
) -> None:
    """Add what one seed's pools give in every setting."""
    pool, seed = parameters.pool, parameters.seed
    once = draw_counts(pool, pool, 0, seed)
    whole = work.classify(crops, once)
    digests = crops["image_digest"].combine_chunks().unique().to_pylist()
    labels = np.array([[-1 if (c := work.labels[d]) is None else c] for d in digests])

    def add(name: str, encodings: float, classes: NDArray[np.int32]) -> None:
        setting = settings.setdefault(name, Setting([], [], []))
        setting.encodings.append(encodings)
        setting.same.append((classes == whole).mean(axis=1))
        setting.right.append((classes == labels).mean(axis=1))

    add("whole pool", 1 + pool, whole)
    counts = [count for count in COUNTS if count <= pool]
    for count in counts:
        draws = draw_counts(pool, count, RUNS, seed)
        spent = 1 + float((draws > 0).sum(dim=1).double().mean())
        add(f"{count} at random", spent, work.classify(crops, draws))
    for count in (count for count in counts if count < pool):
        used = work.use(crops, parameters, CropRule(IMAGE_SCALE, count))
        add(f"{count} by weight", 1 + count, work.classify(crops, once, [used]))
    for agreement in AGREEMENTS:
        used = work.use(crops, parameters, work.rule(agreement))
        spent = 1 + float(used["crop_count"].to_numpy().mean())
        name = f"until settled, {agreement:g}"
        add(name, spent, work.classify(crops, once, [used]))
        reasons = used["stop_reason"].value_counts().to_pylist()
        print(f"  {name}: { ({r['values']: r['counts'] for r in reasons}) }")


def print_settings(settings: Mapping[str, Setting], *, has_labels: bool) -> None:
    """Print the table, as Markdown."""
    print("| crops | encodings an image | same % | 95 % interval | top-1 % |")
    print("|---|---|---|---|---|")
    for name, setting in settings.items():
        same = np.mean(setting.same, axis=0)
        low, high = mean_interval(same, (0.0, 1.0))
        right = f"{100 * np.mean(setting.right):.2f}" if has_labels else ""
        print(
            f"| {name} | {np.mean(setting.encodings):.1f} | {100 * same.mean():.2f} | "
            f"{100 * low:.2f} to {100 * high:.2f} | {right} |"
        )


def _parameters(options: argparse.Namespace, seed: int) -> CropParameters:
    return CropParameters(seed=seed, pool=options.pool, crop_strategy=options.crop_strategy)


def time_path(work: Work, options: argparse.Namespace) -> None:
    """Time whole pools and settled crops from JPEG to predictions, in turns."""
    parameters = _parameters(options, options.first_seed)
    used = work.use(read_pool(work, parameters, options.keep), parameters, work.rule(0.995))
    counts = dict(
        zip(used["image_digest"].to_pylist(), used["crop_count"].to_pylist(), strict=True)
    )
    is_other = options.time_encoder is not None
    given = random_encoder() if options.time_encoder == "random" else nullcontext()
    with given as path:
        timed = work
        if is_other:
            source = resolve_encoder(path or options.time_encoder, "auto", "cpu")
            classes = np.zeros((len(work.classes), source.identity.dimension), np.float32)
            classes[:, 0] = 1
            timed = Work(work.files, work.labels, Encoder(source), source, classes)
        rounds = [_time_round(timed, parameters, used if is_other else None, counts)]
        rounds = [
            _time_round(timed, parameters, used if is_other else None, counts)
            for _ in range(options.rounds)
        ]
    whole, settled = (statistics.median(part) for part in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(
        f"{options.time_encoder or options.encoder}, {len(work.files)} images, "
        f"{options.rounds} rounds: whole pool {whole:.1f} s, until settled {settled:.1f} s, "
        f"{ratio:.2f} times as fast with {1 + statistics.mean(counts.values()):.1f} encodings"
    )


def _time_round(
    work: Work,
    parameters: CropParameters,
    told: pa.Table | None,
    counts: Mapping[str, int],
) -> tuple[float, float]:
    """Time one round: the seconds of the whole pool, and of settled crops.

    told: rows of `crop_use` where the rule is not asked; counts: their crops by digest.
    """
    once = draw_counts(parameters.pool, parameters.pool, 0, parameters.seed)
    started = time.perf_counter()
    work.classify(work.embed(parameters), once)
    between = time.perf_counter()
    rule = work.rule(0.995)
    is_square = sees_square(work.source.identity)
    if told is None:
        crops = work.embed(
            parameters, lambda layout: ChosenCrops(layout, is_cropped=is_square, rule=rule.stop)
        )
        told = work.use(crops, parameters, rule)
    else:
        crops = _embed_told(work, parameters, counts, is_square=is_square)
    work.classify(crops, once, [told])
    return between - started, time.perf_counter() - between


def _embed_told(
    work: Work, parameters: CropParameters, counts: Mapping[str, int], *, is_square: bool
) -> pa.Table:
    """Embed as many crops of each image as it is told, images of one number at a time."""
    parts = []
    for count in sorted(set(counts.values())):
        own = {d: data for d, data in work.files.items() if counts.get(d) == count}
        part = Work(own, work.labels, work.encoder, work.source, work.classes)
        parts.append(
            part.embed(
                parameters,
                lambda layout, count=count: ChosenCrops(layout, is_cropped=is_square, crops=count),
            )
        )
    return pa.concat_tables(parts)


if __name__ == "__main__":
    main()
