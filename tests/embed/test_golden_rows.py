"""Embeddings of a fixed picture and text under fixed weights: what `revision` stands for."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder
from tasks.embed.images import make_views
from tasks.embed.sources import resolve_encoder
from tests.conftest import write_tiny_model

IMAGE_ROWS = [
    [0.0047, -0.0850, -0.1631, -0.2191, -0.2455, -0.2387],
    [0.0037, -0.0859, -0.1638, -0.2196, -0.2456, -0.2384],
    [0.0040, -0.0856, -0.1636, -0.2194, -0.2456, -0.2385],
]
TEXT_ROW = [-0.2485, -0.2093, -0.1417, -0.0550, 0.0391, 0.1280]
ADVICE = "code makes other embeddings: raise CropsRecipe.revision and TextEmbeddingsRecipe.revision"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A tiny model whose weights follow from a formula, not from a random generator."""
    folder = write_tiny_model(tmp_path_factory.mktemp("golden") / "model", seed=0)
    state = open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict()
    weights = {
        name: (0.2 * torch.sin(0.37 * torch.arange(value.numel()) + i)).view_as(value).contiguous()
        for i, (name, value) in enumerate(sorted(state.items()))
        if value.is_floating_point()
    }
    save_file({**state, **weights}, folder / "open_clip_model.safetensors")
    return Encoder(resolve_encoder(f"local-dir:{folder}", "fp32", "cpu"))


def picture(path: Path) -> bytes:
    rows, columns = np.mgrid[0:90, 0:120]
    pixels = np.stack([2 * rows, 2 * columns, (rows * columns) % 251], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path.read_bytes()


def test_embeddings_are_those_of_this_revision(encoder: Encoder, tmp_path: Path) -> None:
    parameters = CropParameters(pool=2, seed=3)
    layout, pixels = make_views(picture(tmp_path / "picture.png"), "digest", parameters, encoder)
    images = encoder.encode_images(pixels, 8).numpy()[:, :6]
    text = encoder.encode_texts(["a photo of a striped cat."]).numpy()[0, :6]
    assert np.allclose(images, IMAGE_ROWS, atol=1.5e-4), ADVICE
    assert np.allclose(text, TEXT_ROW, atol=1.5e-4), ADVICE
    assert layout.boxes == [(14, 14, 67, 67, False), (11, 6, 77, 77, False)]
