"""Crops resized on a device as Pillow would: batches of matrix products, antialiased bicubic."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tasks.embed.crops import Box
from tasks.store.digest import even_chunks

BICUBIC_A, BICUBIC_SUPPORT = -0.5, 2.0  # of Pillow's filter, src/libImaging/Resample.c
# Resized pixels of a line computed together, from the pixels in their reach: as many as make a
# product worth starting, as few as leave out most of the line.
TILE_PX = 32
# Values of one patch in float32 held at once, about: a bound on memory whatever the photograph.
VALUES_AT_ONCE = 1 << 25


class Lines(NamedTuple):
    """How lines of pixels become shorter or longer: tile by tile, each from the pixels it needs.

    pixels: `(n, tiles, window)`, which pixels of its line a tile is made of. weights:
    `(n, tiles, TILE_PX, window)`, how much each of those counts for each resized pixel of the tile;
    rows sum to 1.
    """

    pixels: Tensor
    weights: Tensor

    @classmethod
    def of(cls, sources_px: Tensor, longest_px: int, target_px: int, places: range) -> Self:
        """Lines of `(n,)` pixels each, resized to `target_px`, of which `places` are wanted.

        longest_px: the greatest of the lines, for which a device would have to be waited for. As
        Pillow computes the weights: the filter is stretched where a line is made smaller, cut
        off at the line's ends and normalised again.
        """
        sources = sources_px.to(torch.float64).view(-1, 1, 1, 1)
        scale = sources / target_px
        stretch = scale.clamp(min=1.0)
        reach = BICUBIC_SUPPORT * stretch
        tiles = -(-len(places) // TILE_PX)
        steps = torch.arange(tiles * TILE_PX, device=sources.device, dtype=torch.float64)
        # of the last tile what is not wanted is the last place once more
        wanted = (places.start + steps.clamp(max=len(places) - 1)).view(1, tiles, TILE_PX, 1)
        centres = (wanted + 0.5) * scale
        first = (centres - reach + 0.5).floor().clamp(min=0)
        last = torch.minimum((centres + reach + 0.5).floor(), sources)
        most = longest_px / target_px
        window = int(TILE_PX * most + 2 * BICUBIC_SUPPORT * max(most, 1.0)) + 2
        start = first[:, :, :1]
        pixels = start + torch.arange(window, device=sources.device, dtype=torch.float64)
        weights = _bicubic((pixels + 0.5 - centres) / stretch)
        weights = weights * ((pixels >= first) & (pixels < last))
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return cls(torch.minimum(pixels, sources - 1).long().squeeze(2), weights.float())


def resized_crops(image: Tensor, boxes: Sequence[Box], size_px: int) -> Tensor:
    """Square crops of an image, resized: uint8 `(3, height, width)` to `(n, size, size, 3)`.

    Within 2/255 of `crop().resize()` by Pillow, pixel by pixel. No pixel outside a crop plays a
    part. Which crops are computed together depends on the boxes alone.
    """
    longest = max(side for _, _, side in boxes)
    at_once = max(1, VALUES_AT_ONCE // (3 * longest * max(longest, size_px)))
    parts = [_crops(image, chunk, longest, size_px) for chunk in even_chunks(boxes, at_once)]
    return torch.cat(parts)


def _crops(image: Tensor, boxes: Sequence[Box], longest: int, size_px: int) -> Tensor:
    height = image.shape[1]
    lefts, tops, sides = torch.tensor(boxes, device=image.device).T
    lines = Lines.of(sides, longest, size_px, range(size_px))
    across = lines._replace(pixels=lefts.view(-1, 1, 1) + lines.pixels)
    # below a smaller crop lies some row of the image, which no weight reaches
    rows = (tops.view(-1, 1) + torch.arange(longest, device=image.device)).clamp(max=height - 1)
    return _resized(image, rows, across, lines, size_px)


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
        lines.append(Lines.of(source, length, target, range(start, start + size_px)))
    # from Pillow 13.0 on; the order shows where a pass overshoots black or white
    if shrinkage[0] > max(0, 2 * shrinkage[1]):
        columns = torch.arange(width, device=image.device).view(1, -1)
        turned = _resized(image.transpose(1, 2), columns, lines[0], lines[1], size_px)
        return turned.transpose(1, 2)
    rows = torch.arange(height, device=image.device).view(1, -1)
    return _resized(image, rows, lines[1], lines[0], size_px)


def _resized(image: Tensor, rows: Tensor, across: Lines, down: Lines, size_px: int) -> Tensor:
    """Horizontal, then vertical pass, with 8 bits between them: uint8 `(n, size, size, 3)`.

    rows: `(n, h)`, the rows of the image `(3, height, width)` that `down` counts from 0.
    """
    count, tiles, _, _ = across.weights.shape
    channels = torch.arange(3, device=image.device).view(1, 1, 3, 1, 1)
    values = image[channels, rows[:, None, None, :, None], across.pixels[:, :, None, None, :]]
    products = values.flatten(2, 3).float() @ across.weights.transpose(2, 3)
    narrow = _eight_bits(products).view(count, tiles, 3, -1, TILE_PX)
    narrow = narrow.permute(0, 3, 1, 4, 2).reshape(count, rows.shape[1], -1)  # (n, h, x and colour)
    images = torch.arange(count, device=image.device).view(-1, 1, 1)
    products = down.weights @ narrow[images, down.pixels]  # (n, tiles, TILE_PX, x and colour)
    resized = _eight_bits(products).to(torch.uint8).view(count, -1, tiles * TILE_PX, 3)
    return resized[:, :size_px, :size_px]


def _eight_bits(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


def _bicubic(x: Tensor) -> Tensor:
    x, a = x.abs(), BICUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
