"""Crops resized on a device as Pillow would: batches of matrix products, antialiased bicubic."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.embed.crops import Box
from tasks.store.digest import even_chunks

BICUBIC_A, BICUBIC_SUPPORT = -0.5, 2.0  # of Pillow's filter, src/libImaging/Resample.c
# Values of one patch in float32 held at once, about: a bound on memory whatever the photograph.
VALUES_AT_ONCE = 1 << 25


def bicubic_weights(sources_px: Tensor, target_px: int, length: int, places: range) -> Tensor:
    """How much each of `length` pixels counts for some resized ones: float32 `(n, places, length)`.

    sources_px: `(n,)` whole numbers up to `length`, the pixels of each line that exist. target_px:
    pixels of the resized line, of which only `places` are computed. Each row sums to 1. As Pillow
    computes them: the filter is stretched where a line is made smaller, cut off at the line's ends
    and normalised again.
    """
    sources = sources_px.to(torch.float64).view(-1, 1, 1)
    scale = sources / target_px
    stretch = scale.clamp(min=1.0)
    reach = BICUBIC_SUPPORT * stretch
    wanted = torch.arange(places.start, places.stop, device=sources.device, dtype=torch.float64)
    centres = (wanted.view(1, -1, 1) + 0.5) * scale
    first = (centres - reach + 0.5).floor().clamp(min=0)
    last = torch.minimum((centres + reach + 0.5).floor(), sources)
    pixels = torch.arange(length, device=sources.device, dtype=torch.float64).view(1, 1, -1)
    weights = _bicubic((pixels + 0.5 - centres) / stretch)
    weights = weights * ((pixels >= first) & (pixels < last))
    return (weights / weights.sum(dim=-1, keepdim=True)).float()


def resized_crops(image: Tensor, boxes: Sequence[Box], size_px: int) -> Tensor:
    """Square crops of an image, resized: uint8 `(3, height, width)` to `(n, size, size, 3)`.

    Within 2/255 of `crop().resize()` by Pillow, pixel by pixel. A crop is cut out first, so that
    no pixel outside it plays a part. Which crops are computed together depends on the boxes alone.
    """
    longest = max(side for _, _, side in boxes)
    at_once = max(1, VALUES_AT_ONCE // (3 * longest * max(longest, size_px)))
    parts = [_resized(image, chunk, longest, size_px) for chunk in even_chunks(boxes, at_once)]
    return torch.cat(parts)


def resized_whole(image: Tensor, size_px: int) -> Tensor:
    """The whole image, shortest side resized, middle cut out: uint8 to `(1, size, size, 3)`.

    The sizes and the place of the cut are torchvision's Resize and CenterCrop.
    """
    height, width = image.shape[1:]
    short = min(height, width)
    lines, shrinkage = [], []
    for length in (height, width):
        target = size_px if length == short else int(size_px * length / short)
        shrinkage.append(length - target)
        start = round((target - size_px) / 2.0)
        source = torch.tensor([length], device=image.device)
        lines.append(bicubic_weights(source, target, length, range(start, start + size_px)))
    # from Pillow 13.0 on; the order shows where a pass overshoots black or white
    is_vertical_first = shrinkage[0] > max(0, 2 * shrinkage[1])
    return _products(image.unsqueeze(0), lines[0], lines[1], is_vertical_first)


def _resized(image: Tensor, boxes: Sequence[Box], longest: int, size_px: int) -> Tensor:
    height, width = image.shape[1:]
    lefts, tops, sides = torch.tensor(boxes, device=image.device).T
    steps = torch.arange(longest, device=image.device)
    # beyond a smaller crop's end lies some pixel of the image, whose weight is zero
    rows = (tops[:, None] + steps).clamp(max=height - 1)
    columns = (lefts[:, None] + steps).clamp(max=width - 1)
    patches = image[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
    weights = bicubic_weights(sides, size_px, longest, range(size_px))
    return _products(patches, weights, weights)


def _products(
    patches: Tensor, down: Tensor, across: Tensor, is_vertical_first: bool = False
) -> Tensor:
    """Horizontal, then vertical pass, with 8 bits between them: `(n, 3, h, w)` to `(n, ., ., 3)`.

    down, across: weights `(n, target, h)` and `(n, target, w)`.
    """
    vertical, horizontal = down.unsqueeze(1), across.unsqueeze(1).transpose(2, 3)
    values = patches.float()
    if is_vertical_first:
        values = _eight_bits(_eight_bits(vertical @ values) @ horizontal)
    else:
        values = _eight_bits(vertical @ _eight_bits(values @ horizontal))
    return values.to(torch.uint8).permute(0, 2, 3, 1)


def _eight_bits(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


def _bicubic(x: Tensor) -> Tensor:
    x, a = x.abs(), BICUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
