"""What benchmarks work on where nothing else is named: photographs and an encoder for speed."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / architecture
        write_random_model(folder, open_clip.get_model_config(architecture))
        yield f"local-dir:{folder}"


def write_random_model(
    folder: Path,
    config: Mapping[str, Any],
    seed: int = 0,
    preprocess: Mapping[str, Any] | None = None,
) -> Any:
    """Write a folder that `local-dir:` names, with random weights, and return the model.

    config: as in open_clip_config.json. The same seed makes the same weights.
    """
    folder.mkdir(parents=True)
    options = {"model_cfg": dict(config), "preprocess_cfg": dict(preprocess or {})}
    (folder / "open_clip_config.json").write_text(json.dumps(options))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return model


def photographs(folder: Path | None, count: int) -> list[bytes]:
    """So many files of a folder of JPEG files, or of the sixteen photographs."""
    if folder:
        files = sorted(folder.rglob("*.jpg"))
        return [path.read_bytes() for path in files[:: max(1, len(files) // count)][:count]]
    dataset = open_source(DataSource(data="sixteen-photographs"))
    return [read_bytes(dataset.root, image.name) for image in list(dataset.images)[:count]]
