"""Draws and weights: the left and right sums of WCA (Li et al. 2024, equations 4 to 7)."""

import math

import torch

from tasks.store.digest import uniforms

# BiFTA's description refinement: texts this alike say the same, and so many of the others suffice.
ALIKE_COSINE = 0.99
MOST_TEXTS = 50


def draw_counts(pool: int, crops: int, runs: int, seed: int) -> torch.Tensor:
    """How often each run draws each crop of the pool, with replacement: float64 `(runs, pool)`.

    The draws are the same for every image. With `runs` 0 there is one run that takes each crop of
    the pool once.
    """
    if runs == 0:
        return torch.ones(1, pool, dtype=torch.float64)
    counts = torch.zeros(runs, pool, dtype=torch.float64)
    for run in range(runs):
        for draw in uniforms(f"draw/{seed}/{run}", crops):
            counts[run, math.floor(draw * pool)] += 1
    return counts


def softmax_weights(
    similarity: torch.Tensor, scale: float | None, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(e^scale * similarity) over the last dimension, each entry `counts` times over.

    similarity: `(..., n)` cosines. scale: the paper's image_scale or text_scale; None: uniform
    weights. counts: broadcastable to it, how often an entry takes part; the result is then the
    summed weight of its copies.
    """
    logits = similarity * (0.0 if scale is None else math.exp(scale))
    if counts is not None:
        logits = logits + counts.log()  # log 0 = -inf: an entry that was not drawn weighs nothing
    return torch.softmax(logits, dim=-1)


def image_vectors(
    embeddings: torch.Tensor, counts: torch.Tensor, image_scale: float | None
) -> torch.Tensor:
    """The left sum of each image and run, sum_i w_i p_i: `(images, runs, dim)`.

    embeddings: `(images, 1 + pool, dim)`, the whole image first. counts: `(runs, pool)`.
    A run is a weighting of the pool, so all runs are one batched matrix product. Weights are made
    in float64; sums are rounded as the embeddings' format does.
    """
    whole, crops = embeddings[:, :1], embeddings[:, 1:]
    # bmm and not @, which would copy the crops first
    similarity = torch.bmm(crops, whole.transpose(1, 2)).squeeze(2).double()
    weights = softmax_weights(similarity[:, None, :], image_scale, counts)  # (images, runs, pool)
    return torch.bmm(weights.to(crops.dtype), crops)


def text_vector(texts: torch.Tensor, label: torch.Tensor, text_scale: float | None) -> torch.Tensor:
    """The right sum of one class, sum_j v_j t_j: float64 `(dim,)`.

    texts: `(descriptions, dim)`; label: `(dim,)`, the embedding of "a photo of a {class}.".
    """
    exact = texts.double()
    return softmax_weights(exact @ label.double(), text_scale) @ exact


def refined(texts: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The descriptions that BiFTA keeps, as row indices, most like the label first.

    texts: `(descriptions, dim)`; label: `(dim,)`. Greedy by descending cosine with the label: a
    description is kept while its cosine with every kept one is below 0.99, at most 50 of them.
    """
    exact = texts.double()
    cosines = exact @ exact.T
    kept: list[int] = []
    for row in (exact @ label.double()).argsort(descending=True, stable=True).tolist():
        if len(kept) < MOST_TEXTS and bool((cosines[row, kept] < ALIKE_COSINE).all()):
            kept.append(row)
    return torch.tensor(kept)
