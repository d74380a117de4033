"""Products in which equal vectors get equal scores, so that ties can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor


class Repeats(NamedTuple):
    """Class vectors that are there already: row `later[i]` is equal to the earlier `first[i]`."""

    later: Tensor
    first: Tensor


def find_repeats(classes: Tensor) -> Repeats:
    """Find the rows of `(classes, dim)` that repeat an earlier one: classes of equal names do."""
    import torch

    seen: dict[bytes, int] = {}
    rows = (classes + 0.0).numpy()  # -0.0 equals 0.0
    first = torch.tensor([seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows)])
    later = (first != torch.arange(len(first))).nonzero().flatten()
    return Repeats(later, first[later])


def compute_scores(images: Tensor, classes: Tensor, repeats: Repeats) -> Tensor:
    """Multiply image and class vectors: float32 `(..., classes)`.

    images: `(..., dim)`; classes: `(classes, dim)`, whose repeats `find_repeats` has found. Equal
    class vectors get equal scores to the last bit, wherever the matrix product places them, so that
    ties go to the lower index.
    """
    product = images.float() @ classes.T
    if len(repeats.later):
        product[..., repeats.later] = product[..., repeats.first]
    return product
