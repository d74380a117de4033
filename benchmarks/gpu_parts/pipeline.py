"""From JPEG files to stored predictions, with the whole pool and with fewer crops."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from benchmarks.embed import Work, class_vectors, embed_files, write_predictions
from benchmarks.gpu_parts.bench import ALMOST_NONE, Bench
from benchmarks.score import timed
from benchmarks.shared.synthetic import RUNS
from tasks.datasets.decode import decode_image
from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder
from tasks.embed.identity import Resampling
from tasks.embed.precision import cosine_errors
from tasks.embed.sources import native_precision
from tasks.runtime.threads import cores, map_in_threads
from tasks.score.predict import TOP_K
from tasks.store.embeddings import embedding_matrix


def measure_pipeline(bench: Bench) -> None:
    """Embed and score files with the whole pool, and with the numbers of crops that were given.

    Images with as many crops are embedded together, each group in batches of its own.
    """
    precision = native_precision(bench.device)
    source, encoder = bench.source("ViT-B-32", precision), bench.encoder("ViT-B-32", precision)
    batch, vectors = encoder.batch_size, class_vectors(source.identity.dimension)

    def work(files: dict[str, bytes], pool: int) -> Work:
        return Work(files, CropParameters(pool=pool), source.name, precision, bench.device)

    def embed(group: Work, resampling: Resampling = "device") -> int:
        return sum(b.num_rows for b in embed_files(group, encoder, batch, cores(), resampling))

    def predict_all(groups: list[Work]) -> None:
        for group in groups:
            rows = write_predictions(group, encoder, batch, cores(), vectors)
            expected = len(group.files) * RUNS * TOP_K
            bench.check(rows == expected, f"{rows} rows of predictions instead of {expected}")

    few = bench.files(4 * len(bench.shares))
    predict_all([work(few, bench.sizes.pool)])
    taken, _ = timed(lambda: predict_all([work(few, bench.sizes.pool)]))  # once all is loaded
    count = round(len(few) * max(1.0, min(100.0, bench.sizes.pipeline_sec / taken)))
    files = bench.files(count)
    whole = work(files, bench.sizes.pool)
    quarter = work(dict(list(files.items())[: -(-count // 4)]), bench.sizes.pool)
    groups = [
        work({digest: files[digest] for digest in digests}, pool)
        for pool, digests in divide(list(files), bench.shares).items()
        if digests
    ]
    decode_sec, _ = timed(lambda: list(map_in_threads(decode_image, files.values(), cores())))
    bench.rows.append({"what": "JPEG to pixels", "images": count, "images/s": count / decode_sec})
    kinds: dict[str, tuple[list[Work], Callable[[], object]]] = {
        "JPEG to embeddings": ([whole], lambda: embed(whole)),
        "JPEG to embeddings, crops by Pillow": ([quarter], lambda: embed(quarter, "pillow")),
        "JPEG to predictions": ([whole], lambda: predict_all([whole])),
        "JPEG to predictions, fewer crops": (groups, lambda: predict_all(groups)),
    }
    for what, (given, function) in kinds.items():
        seconds, _ = timed(function)
        images = sum(len(group.files) for group in given)
        crops = sum(len(group.files) * group.crops.pool for group in given)
        bench.rows.append(
            {
                "what": what,
                "images": images,
                "images/s": images / seconds,
                "crops an image": crops / images,
                "views/s": (images + crops) / seconds,
            }
        )
    _check_first_crops(bench, whole, encoder, batch)


def divide(digests: list[str], shares: dict[int, float]) -> dict[int, list[str]]:
    """Give each number of crops its share of the images, in their order."""
    ends = np.round(np.cumsum(list(shares.values())) * len(digests)).astype(int)
    starts = [0, *ends[:-1]]
    return {pool: digests[a:b] for pool, a, b in zip(shares, starts, ends, strict=True)}


def _check_first_crops(bench: Bench, whole: Work, encoder: Encoder, batch: int) -> None:
    """Check that an image's first crops get the same rows where fewer are asked for."""
    digest = next(iter(whole.files))
    one = replace(whole, files={digest: whole.files[digest]})
    part = replace(one, crops=CropParameters(pool=max(1, whole.crops.pool // 4)))
    rows, fewer = (
        embedding_matrix(
            pa.Table.from_batches(embed_files(work, encoder, batch, cores()))["embedding"]
        )
        for work in (one, part)
    )
    error = cosine_errors(rows[: len(fewer)], fewer).max()
    bench.check(
        error <= ALMOST_NONE, f"an image's first crops, alone: 1 - cosine is {error:.1e}, not 0"
    )
