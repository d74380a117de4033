"""What benchmarks work on where nothing else is named: photographs and an encoder for speed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from tasks.datasets.readers import read_bytes
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source

# CLIP's ViT-B/32: what weights it has decides nothing about its speed.
ARCHITECTURE = "ViT-B-32"


@contextmanager
def random_encoder(architecture: str = ARCHITECTURE) -> Iterator[str]:
    """The name of an encoder with random weights, which are deleted after use."""
    torch.manual_seed(0)
    state = open_clip.create_model(architecture).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{architecture}.safetensors"
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        yield f"{architecture}:{path}"


def photographs(folder: Path | None, count: int) -> list[bytes]:
    """So many files of a folder of JPEG files, or of the sixteen photographs."""
    if folder:
        files = sorted(folder.rglob("*.jpg"))
        return [path.read_bytes() for path in files[:: max(1, len(files) // count)][:count]]
    dataset = open_source(DataSource(data="sixteen-photographs"))
    return [read_bytes(dataset.root, image.name) for image in list(dataset.images)[:count]]
