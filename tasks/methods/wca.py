"""Weighted visual-text cross alignment (WCA), the formula: open this module first.

An image is the embedding of the whole, p_0, and of its crops, p_1 to p_N. A class is the embedding
of its label prompt, t_0, and of its descriptions, t_1 to t_M. All have length 1. The score is

    psi = sum_ij w_i v_j <p_i, t_j>,   w = softmax(e^4 <p_i, p_0>),   v = softmax(e^2 <t_j, t_0>).

It is bilinear, so it is also the product of one vector of the image and one of the class:
psi = <sum_i w_i p_i, sum_j v_j t_j>. The authors' program gives both vectors length 1 first.

References
----------
Li et al., "Visual-Text Cross Alignment: Refining the Similarity Score in Vision-Language Models",
ICML 2024, https://arxiv.org/abs/2406.02915, equations 4 to 7, and the program released with it.

"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tasks.methods.method import ImageSide, Method, Source, TextSide
from tasks.store.digest import uniforms

if TYPE_CHECKING:  # seconds to import; the names of methods are read by `wca --help`
    from torch import Tensor

# The published exponents of the two scales.
IMAGE_SCALE, TEXT_SCALE = 4.0, 2.0
# The published protocol: crops that a run draws, and runs.
CROPS_PER_RUN, RUNS = 60, 20


def wca_score(
    whole: Tensor,
    crops: Tensor,
    label: Tensor,
    texts: Tensor,
    image_scale: float | None = IMAGE_SCALE,
    text_scale: float | None = TEXT_SCALE,
    *,
    is_normalised: bool = True,
) -> Tensor:
    """Score images against one class by WCA.

    Parameters
    ----------
    whole : Tensor
        `(images, dim)`, the embedding of each whole image.
    crops : Tensor
        `(images, crops, dim)`, the embeddings of its crops.
    label : Tensor
        `(dim,)`, the embedding of the class's label prompt.
    texts : Tensor
        `(texts, dim)`, the embeddings of the class's descriptions.
    image_scale, text_scale : float or None
        Exponents of the scales of the crop weights and the text weights; None: equal weights.
    is_normalised : bool
        True: the released program's arithmetic, both sums at length 1. False: the printed sum.

    Returns
    -------
    Tensor
        `(images,)`, float64, from -1 to 1.

    Examples
    --------
    The first crop equals the whole image and takes nearly all the weight; the second is orthogonal.

    >>> import torch
    >>> whole, crops = torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> label, texts = torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> wca_score(whole, crops, label, texts).round(decimals=4)
    tensor([0.9992], dtype=torch.float64)

    """
    whole, crops, label, texts = (x.double() for x in (whole, crops, label, texts))
    weights = crop_weights(whole, crops, image_scale)
    image = weights.unsqueeze(1).bmm(crops).squeeze(1)
    text = weighted_text_sum(label, texts, text_scale)
    if is_normalised:
        image, text = unit(image), unit(text)
    return image @ text


def softmax_weights(
    similarity: Tensor, scale: float | None, counts: Tensor | None = None
) -> Tensor:
    """Turn similarities into weights: softmax(e^scale * similarity) over the last dimension.

    Parameters
    ----------
    similarity : Tensor
        `(..., n)`, cosines.
    scale : float or None
        Exponent of the scale; None: equal weights.
    counts : Tensor, optional
        Broadcastable to `similarity`: how often each entry takes part. An entry's weight is then
        the summed weight of its copies, 0 for an entry with count 0.

    Returns
    -------
    Tensor
        `(..., n)`, weights that sum to 1.

    Examples
    --------
    >>> import torch
    >>> softmax_weights(torch.tensor([0.5, 0.1]), None, torch.tensor([3.0, 1.0]))
    tensor([0.7500, 0.2500])

    """
    logits = similarity * (0.0 if scale is None else math.exp(scale))
    if counts is not None:
        logits = logits + counts.log()  # log 0 = -inf: what is not drawn weighs 0
    return logits.softmax(dim=-1)


def crop_weights(
    whole: Tensor, crops: Tensor, image_scale: float | None, counts: Tensor | None = None
) -> Tensor:
    """Weigh each crop by its similarity to the whole image, w_i.

    whole: `(images, dim)`; crops: `(images, crops, dim)`; counts: `(runs, crops)` or
    `(images, runs, crops)`, how often each run draws each crop. Returns float64 `(images, crops)`,
    with counts `(images, runs, crops)`.
    """
    # bmm and not @, which would copy the crops first; the last bits depend on these very strides
    similarity = crops.bmm(whole.unsqueeze(1).mT).squeeze(2).double()
    if counts is None:
        return softmax_weights(similarity, image_scale)
    return softmax_weights(similarity.unsqueeze(1), image_scale, counts)


def text_weights(label: Tensor, texts: Tensor, text_scale: float | None) -> Tensor:
    """Weigh each description by its similarity to the label prompt, v_j.

    label: `(dim,)`; texts: `(texts, dim)`. Returns float64 `(texts,)`.
    """
    return softmax_weights(texts.double() @ label.double(), text_scale)


def weighted_crop_sum(
    whole: Tensor, crops: Tensor, image_scale: float | None, counts: Tensor
) -> Tensor:
    """Sum the crops of each image in each run under their weights, sum_i w_i p_i.

    whole: `(images, dim)`; crops: `(images, crops, dim)`; counts: as in `crop_weights`. All
    runs are one batched matrix product, since a run is a weighting of the pool. Weights are
    computed in float64; the sums have the format of the crops. Returns `(images, runs, dim)`, not
    of length 1.
    """
    return crop_weights(whole, crops, image_scale, counts).to(crops.dtype).bmm(crops)


def weighted_text_sum(label: Tensor, texts: Tensor, text_scale: float | None) -> Tensor:
    """Sum the descriptions of one class under their weights, sum_j v_j t_j.

    label: `(dim,)`; texts: `(texts, dim)`. Returns float64 `(dim,)`, not of length 1.
    """
    return text_weights(label, texts, text_scale) @ texts.double()


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors `(..., dim)` to length 1; a zero vector stays zero."""
    length: Tensor = vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return vectors / length


def draw_counts(pool: int, crops: int, runs: int, seed: int) -> Tensor:
    """Draw crops from the pool, with replacement, for each run of the protocol.

    The draws are the same for every image. A run's draws depend on the seed and the run's number
    alone. With `runs` 0 there is one run that takes each crop of the pool once.

    Returns
    -------
    Tensor
        float64 `(runs, pool)`: how often each run draws each crop.

    Examples
    --------
    >>> draw_counts(pool=4, crops=6, runs=1, seed=0)
    tensor([[2., 1., 2., 1.]], dtype=torch.float64)

    """
    import torch

    if runs == 0:
        return torch.ones(1, pool, dtype=torch.float64)
    counts = torch.zeros(runs, pool, dtype=torch.float64)
    for run in range(runs):
        for draw in uniforms(f"draw/{seed}/{run}", crops):
            counts[run, math.floor(draw * pool)] += 1
    return counts


SOURCE = Source(
    "Li et al.",
    "Visual-Text Cross Alignment: Refining the Similarity Score in Vision-Language Models",
    "ICML 2024",
    "2406.02915",
)
WEIGHTED_CROPS = ImageSide(
    "weighted_crops",
    "weighted crops",
    "sum_i w_i p_i",
    lambda scene: weighted_crop_sum(scene.whole, scene.crops, scene.image_scale, scene.counts),
    multiplications="N D + R N D",
    weights="w = softmax_i(e^4 <p_i, p_0>)",
    settings=f"--image-scale {IMAGE_SCALE:g}",
    source=SOURCE,
)
WEIGHTED_DESCRIPTIONS = TextSide(
    "weighted_descriptions",
    "weighted descriptions",
    "sum_j v_j t_j",
    "description",
    lambda label, texts, scale: unit(weighted_text_sum(label, texts, scale)),
    weights="v = softmax_j(e^2 <t_j, t_0>)",
    settings=f"--text-scale {TEXT_SCALE:g}",
    source=SOURCE,
)
PRINTED_DESCRIPTIONS = TextSide(
    "printed_descriptions",
    "printed sum of descriptions",
    "sum_j v_j t_j",
    "description",
    weighted_text_sum,
    weights="v = softmax_j(e^2 <t_j, t_0>)",
    settings=f"--text-scale {TEXT_SCALE:g}",
    is_normalised=False,
    source=SOURCE,
)
WCA = Method(
    "wca", "WCA", (WEIGHTED_CROPS, WEIGHTED_DESCRIPTIONS), SOURCE, preference=10, is_swept=True
)
WCA_PAPER = Method(
    "wca_paper",
    "WCA (printed sum)",
    (WEIGHTED_CROPS, PRINTED_DESCRIPTIONS),
    SOURCE,
    preference=7,
    is_swept=True,
)
