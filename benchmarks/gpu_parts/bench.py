"""What the parts share: sizes, encoders, pictures, results and checks."""

import io
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks.embed import count_operations
from benchmarks.score import timed
from benchmarks.shared.inputs import photographs, write_random_model
from tasks.embed.encoder import Encoder
from tasks.embed.identity import EncoderSource, Precision
from tasks.embed.sources import resolve_encoder
from tasks.runtime.gpus import needs_gpu
from tasks.store.digest import bytes_digest

# 1 - cosine of rows that were computed in batches of other sizes.
ALMOST_NONE = 1e-5


@dataclass(frozen=True)
class Sizes:
    """How much is measured; is_small: encoders too."""

    is_small: bool
    pool: int
    views: int
    rate_sec: float
    product: tuple[int, int, int]
    pictures: tuple[tuple[int, int], ...]
    pipeline_sec: float
    classes: int
    scored_images: int


@dataclass
class Bench:
    """What all parts share, the rows of the present one, and the checks that failed."""

    device: str
    sizes: Sizes
    shares: dict[int, float]
    pictures_folder: Path | None
    folder: Path
    rows: list[dict[str, object]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    sources: dict[str, EncoderSource] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)

    def check(self, holds: bool, message: str) -> None:
        """Keep the message of a check that does not hold."""
        if not holds:
            self.failed.append(message)
            self.rows.append({"what": f"FAILED {message}"})

    def source(self, architecture: str, precision: Precision) -> EncoderSource:
        """An encoder with random weights, which are made once; `operations` counts its own."""
        if architecture not in self.sources:
            folder = self.folder / architecture
            shutil.rmtree(folder, ignore_errors=True)  # of a part whose time ended
            config = shrink(open_clip.get_model_config(architecture), self.sizes.is_small)
            model = write_random_model(folder, config)
            side = config["vision_cfg"]["image_size"]
            self.operations[architecture] = count_operations(model, [side, side])
            self.sources[architecture] = resolve_encoder(f"local-dir:{folder}", "fp32", self.device)
        source = self.sources[architecture]
        identity = source.identity.model_copy(update={"precision": precision})
        return source.model_copy(update={"identity": identity})

    def encoder(self, architecture: str, precision: Precision) -> Encoder:
        """Load an encoder."""
        return Encoder(self.source(architecture, precision))

    def files(self, count: int) -> dict[str, bytes]:
        """So many JPEG files by digest; where there are fewer, they come again."""
        found = (
            photographs(self.pictures_folder, count)
            if self.pictures_folder
            else [make_picture(self.sizes.pictures[i % 2], i) for i in range(min(count, 16))]
        )
        return {bytes_digest(b"%d" % i): found[i % len(found)] for i in range(count)}

    def median_seconds(self, work: Callable[[], object]) -> float:
        """The median of as many repetitions as there is time for, three at least."""
        seconds: list[float] = []

        def finish() -> None:
            work()
            if needs_gpu(self.device):
                torch.cuda.synchronize(self.device)

        finish()
        while len(seconds) < 3 or sum(seconds) < self.sizes.rate_sec:
            seconds.append(timed(finish)[0])
        return statistics.median(seconds)


def shrink(config: dict[str, Any], is_small: bool) -> dict[str, Any]:
    """An architecture with a text tower of one layer, since no text is measured.

    is_small: two layers of width 64, and images of four patches a side.
    """
    vision, text = dict(config["vision_cfg"]), {**config["text_cfg"], "layers": 1}
    if is_small:
        vision |= {"layers": 2, "width": 64, "image_size": 4 * vision["patch_size"]}
        text |= {"width": 64, "heads": 1}
    return {**config, "vision_cfg": vision, "text_cfg": text}


def make_picture(size_px: tuple[int, int], seed: int) -> bytes:
    """A JPEG file with as much in it at every scale as a photograph has: noise, added up."""
    width, height = size_px
    generator = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for cells in (3, 9, 27, 81):
        noise = generator.normal(0, 90 / cells**0.5, (cells, cells, 3)) + 128
        coarse = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) - 128.0
    file = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
