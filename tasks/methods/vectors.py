"""Class vectors, the product of image and class vectors, and the best classes."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch.nn.functional import normalize

from tasks.methods.registry import Method
from tasks.methods.weights import refined, text_vector


def class_vector(
    method: Method, texts: Mapping[str, torch.Tensor], text_scale: float | None
) -> torch.Tensor:
    """The vector that stands for one class under a method: float64 `(dim,)`.

    texts: kind to the class's embeddings of that kind, `(n, dim)` with unit rows.
    """
    rows = texts[method.kind].double()
    if not method.is_weighted:
        return normalize(normalize(rows, dim=-1).mean(dim=0), dim=0)
    label = texts["label"][0]
    if method.is_refined:
        rows = rows[refined(rows, label)]
    total = text_vector(rows, label, text_scale)
    return normalize(total, dim=0) if method.is_normalised else total


class Repeats(NamedTuple):
    """Class vectors that are there already: row `later[i]` is equal to the earlier `first[i]`."""

    later: torch.Tensor
    first: torch.Tensor


def find_repeats(classes: torch.Tensor) -> Repeats:
    """Which rows of `(classes, dim)` repeat an earlier one, as classes of equal names do."""
    seen: dict[bytes, int] = {}
    rows = (classes + 0.0).numpy()  # -0.0 equals 0.0
    first = torch.tensor([seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows)])
    later = (first != torch.arange(len(first))).nonzero().flatten()
    return Repeats(later, first[later])


def scores(images: torch.Tensor, classes: torch.Tensor, repeats: Repeats) -> torch.Tensor:
    """All products of image and class vectors: float32 `(..., classes)`.

    images: `(..., dim)`; classes: `(classes, dim)`, whose repeats `find_repeats` has found. Equal
    class vectors get equal scores to the last bit, wherever the matrix product places them, so that
    ties can go to the lower index.
    """
    product = images.float() @ classes.T
    if len(repeats.later):
        product[..., repeats.later] = product[..., repeats.first]
    return product


def top_classes(score: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best classes of each row and their scores, best first, ties to the lower index.

    score: `(rows, classes)`. Returns scores `(rows, k)` and class indices `(rows, k)`.
    """
    # torch.topk is fast but breaks ties as it likes: rows where it met one are sorted whole
    values, classes = score.topk(min(k + 1, score.shape[1]), dim=1)
    is_tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    values, classes = values[:, :k], classes[:, :k]
    if is_tied.any():
        best, order = score[is_tied].sort(dim=1, descending=True, stable=True)
        values[is_tied], classes[is_tied] = best[:, :k], order[:, :k]
    return values, classes
