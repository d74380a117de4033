"""The straightforward way from photographs to embeddings, which benchmarks compare with.

Written as one would at first: Pillow crops made one by one, each through open_clip's whole
preprocessing into float32, stacked, encoded in eager float32 in one batch by all cores.
"""

import io
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from tasks.embed.crops import Box

Preprocess = Callable[[Image.Image], Tensor]


def crops_one_by_one(image: Image.Image, boxes: Sequence[Box], preprocess: Preprocess) -> Tensor:
    """The whole image and its crops as the encoder takes them: float32 `(1 + n, 3, size, size)`."""
    views = [preprocess(image)]
    for left, top, width, height, _ in boxes:  # squares, which are never flipped
        views.append(preprocess(image.crop((left, top, left + width, top + height))))
    return torch.stack(views)


def embed_one_by_one(
    photographs: Sequence[bytes],
    boxes_of: Callable[[int, int, int], Sequence[Box]],
    model: nn.Module,
    preprocess: Preprocess,
    device: str = "cpu",
) -> list[Tensor]:
    """Unit embeddings of each photograph's views; `boxes_of` takes its place, width and height."""
    embeddings = []
    with torch.no_grad():
        for place, data in enumerate(photographs):
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            views = crops_one_by_one(image, boxes_of(place, *image.size), preprocess)
            features = model.encode_image(views.to(device))
            embeddings.append((features / features.norm(dim=-1, keepdim=True)).cpu())
    return embeddings
