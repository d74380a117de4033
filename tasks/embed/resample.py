"""Pillow's antialiased resizing, computed on a device as batches of matrix products."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tasks.embed.crops import Box
from tasks.store.digest import even_chunks

BICUBIC_A = -0.5  # of Pillow's filter, src/libImaging/Resample.c
# Resized pixels of a line that one product computes: enough to be worth a product, few enough
# that the product leaves out most of the line.
TILE_PX = 32
# About so many float32 values of one patch are held at once: it bounds memory for any image size.
VALUES_AT_ONCE = 1 << 25


class Kernel(NamedTuple):
    """A filter of Pillow: the weight of a pixel by its distance, which is 0 beyond the support."""

    support: float
    weigh: Callable[[Tensor], Tensor]


def _weigh_bicubic(x: Tensor) -> Tensor:
    x, a = x.abs(), BICUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _weigh_bilinear(x: Tensor) -> Tensor:
    return (1.0 - x.abs()).clamp(min=0.0)


BICUBIC, BILINEAR = Kernel(2.0, _weigh_bicubic), Kernel(1.0, _weigh_bilinear)


class LineFilter(NamedTuple):
    """The filter that resizes lines of pixels tile by tile.

    pixels: `(n, tiles, window)`, the positions in a line that a tile is computed from.
    weights: `(n, tiles, TILE_PX, window)`, the weight of each of those pixels for each resized
    pixel of the tile; the weights of a resized pixel sum to 1.
    """

    pixels: Tensor
    weights: Tensor

    @classmethod
    def build(
        cls,
        lengths_px: Tensor,
        longest_px: int,
        target_px: int,
        positions: range,
        kernel: Kernel = BICUBIC,
    ) -> Self:
        """Build the filter that resizes lines to one length, with the weights of Pillow.

        Where a line becomes shorter, the kernel is stretched. It is cut off at the ends of the line
        and normalised again.

        Parameters
        ----------
        lengths_px : Tensor
            Lengths of the lines, `(n,)`.
        longest_px : int
            The greatest of the lengths; reading it from a device would wait for the device.
        target_px : int
            Length of every resized line.
        positions : range
            The positions in the resized lines that are computed.
        kernel : Kernel
            BICUBIC or BILINEAR.

        Examples
        --------
        >>> narrow = LineFilter.build(torch.tensor([4]), 4, 2, range(2))
        >>> narrow.weights[0, 0, 0, :4]
        tensor([ 0.4587,  0.4587,  0.1198, -0.0372])
        """
        lengths = lengths_px.to(torch.float64).view(-1, 1, 1, 1)
        scale = lengths / target_px
        stretch = scale.clamp(min=1.0)
        reach = kernel.support * stretch
        tiles = -(-len(positions) // TILE_PX)
        steps = torch.arange(tiles * TILE_PX, device=lengths.device, dtype=torch.float64)
        # the last tile repeats the last position until it is full
        resized = (positions.start + steps.clamp(max=len(positions) - 1)).view(1, tiles, TILE_PX, 1)
        centres = (resized + 0.5) * scale
        first = (centres - reach + 0.5).floor().clamp(min=0)
        last = torch.minimum((centres + reach + 0.5).floor(), lengths)
        max_scale = longest_px / target_px
        window = int(TILE_PX * max_scale + 2 * kernel.support * max(max_scale, 1.0)) + 2
        pixels = first[:, :, :1] + torch.arange(window, device=lengths.device, dtype=torch.float64)
        weights = kernel.weigh((pixels + 0.5 - centres) / stretch)
        weights = weights * ((pixels >= first) & (pixels < last))
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return cls(torch.minimum(pixels, lengths - 1).long().squeeze(2), weights.float())


def resize_crops(
    image: Tensor, boxes: Sequence[Box], size_px: int, kernel: Kernel = BICUBIC
) -> Tensor:
    """Cut crops out of an image, resize them to squares and mirror those that are flipped.

    Each pixel is within 2/255 of Pillow's `crop().resize()`; with BICUBIC this holds for squares,
    since Pillow may resize another rectangle first vertically. No pixel outside a crop changes the
    crop. The boxes alone decide which crops are computed together.

    Parameters
    ----------
    image : Tensor
        uint8 `(3, height, width)`.
    boxes : sequence of Box
        At least one box, all inside the image.
    size_px : int
        Height and width of the resized crops.
    kernel : Kernel
        BICUBIC or BILINEAR.

    Returns
    -------
    Tensor
        uint8 `(crops, size_px, size_px, 3)`.

    Examples
    --------
    >>> image = torch.full((3, 4, 6), 200, dtype=torch.uint8)
    >>> resize_crops(image, [Box(1, 0, 4, 4)], 2).flatten().tolist()
    [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]
    """
    widest, tallest = max(box.width_px for box in boxes), max(box.height_px for box in boxes)
    at_once = max(1, VALUES_AT_ONCE // (3 * tallest * max(widest, size_px)))

    def resize(chunk: Sequence[Box]) -> Tensor:
        lefts, tops, widths, heights, flips = torch.tensor(
            [list(map(int, box)) for box in chunk], device=image.device
        ).T
        down = LineFilter.build(heights, tallest, size_px, range(size_px), kernel)
        across = down
        if any(box.width_px != box.height_px for box in boxes):
            across = LineFilter.build(widths, widest, size_px, range(size_px), kernel)
        across = across._replace(pixels=lefts.view(-1, 1, 1) + across.pixels)
        # below a smaller crop lies some row of the image, which no weight reaches
        rows = tops.view(-1, 1) + torch.arange(tallest, device=image.device)
        resized = _resize(image, rows.clamp(max=image.shape[1] - 1), across, down, size_px)
        if not any(box.is_flipped for box in chunk):
            return resized
        return torch.where(flips.bool().view(-1, 1, 1, 1), resized.flip(2), resized)

    return torch.cat([resize(chunk) for chunk in even_chunks(boxes, at_once)])


def resize_whole_image(image: Tensor, size_px: int) -> Tensor:
    """Resize an image to a shortest side and cut out its middle.

    The sizes and the position of the cut are those of torchvision's Resize and CenterCrop.

    Parameters
    ----------
    image : Tensor
        uint8 `(3, height, width)`.
    size_px : int
        Length of the resized shortest side.

    Returns
    -------
    Tensor
        uint8 `(1, size_px, size_px, 3)`, each pixel within 2/255 of Pillow's.

    Examples
    --------
    >>> resize_whole_image(torch.zeros(3, 4, 6, dtype=torch.uint8), 2).shape
    torch.Size([1, 2, 2, 3])
    """
    height, width = image.shape[1:]
    shortest = min(height, width)
    filters, shrinkage = [], []
    for length in (height, width):
        target = size_px if length == shortest else int(size_px * length / shortest)
        shrinkage.append(length - target)
        start = round((target - size_px) / 2.0)
        lengths = torch.tensor([length], device=image.device)
        filters.append(LineFilter.build(lengths, length, target, range(start, start + size_px)))
    down, across = filters
    # Pillow's order from 13.0 on; it decides the pixels where a pass overshoots black or white
    is_vertical_first = shrinkage[0] > max(0, 2 * shrinkage[1])
    if is_vertical_first:
        image, across, down = image.transpose(1, 2), down, across
    rows = torch.arange(image.shape[1], device=image.device).view(1, -1)
    resized = _resize(image, rows, across, down, size_px)
    return resized.transpose(1, 2) if is_vertical_first else resized


def _resize(
    image: Tensor, rows: Tensor, across: LineFilter, down: LineFilter, size_px: int
) -> Tensor:
    """Resize horizontally, then vertically, with 8 bits between: uint8 `(n, size, size, 3)`.

    rows: `(n, h)`, the rows of the image `(3, height, width)` that `down` counts from 0.
    """
    count, tiles, _, _ = across.weights.shape
    channels = torch.arange(3, device=image.device).view(1, 1, 3, 1, 1)
    values = image[channels, rows[:, None, None, :, None], across.pixels[:, :, None, None, :]]
    products = values.flatten(2, 3).float() @ across.weights.transpose(2, 3)
    narrow = _round_to_8_bits(products).view(count, tiles, 3, -1, TILE_PX)
    narrow = narrow.permute(0, 3, 1, 4, 2).reshape(count, rows.shape[1], -1)  # (n, h, x and colour)
    images = torch.arange(count, device=image.device).view(-1, 1, 1)
    products = down.weights @ narrow[images, down.pixels]  # (n, tiles, TILE_PX, x and colour)
    resized = _round_to_8_bits(products).to(torch.uint8).view(count, -1, tiles * TILE_PX, 3)
    return resized[:, :size_px, :size_px]


def _round_to_8_bits(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)
