"""Class vectors, the product of image and class vectors, and the best classes."""

from collections.abc import Mapping

import torch
from torch.nn.functional import normalize

from tasks.score.methods import Method
from tasks.score.weights import refined, text_vector


def class_vector(
    method: Method, texts: Mapping[str, torch.Tensor], exponent: float | None
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
    total = text_vector(rows, label, exponent)
    return normalize(total, dim=0) if method.is_normalised else total


def scores(images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """All products of image and class vectors: float32 `(..., classes)`.

    images: `(..., dim)`; classes: `(classes, dim)`. Equal class vectors get equal scores to the
    last bit, wherever the matrix product places them, so that ties can go to the lower index.
    """
    position: torch.Tensor
    distinct, position = torch.unique(classes.float(), dim=0, return_inverse=True)
    product: torch.Tensor = images.float() @ distinct.T
    return product[..., position]


def top_classes(score: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best classes of each row and their scores, best first, ties to the lower index.

    score: `(rows, classes)`. Returns scores `(rows, k)` and class indices `(rows, k)`.
    """
    k = min(k, score.shape[1])
    # torch.topk is fast but breaks ties as it likes: ask for the k-th best score only
    threshold = score.topk(k, dim=1).values[:, -1:]
    eligible = score >= threshold
    most = int(eligible.sum(dim=1).max())
    candidates = eligible.int().topk(most, dim=1).indices.sort(dim=1).values
    values = score.gather(1, candidates)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :k], candidates.gather(1, order)[:, :k]
