"""WCA with refined texts: of descriptions that nearly repeat one another, one is kept.

Refined crops, the other half of BiFTA, are the crop strategy `refined`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.methods.method import Method, Source, TextSide
from tasks.methods.wca import TEXT_SCALE, WEIGHTED_CROPS, unit, weighted_text_sum

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Sun et al.",
    "Let's Roll a BiFTA: Bi-refinement for Fine-grained Text-visual Alignment in Vision-Language "
    "Models",
    "TMLR 2026",
    "2601.20419",
)
# A description whose cosine with a kept one is this high is dropped; so many are kept at most.
REPEATED_COSINE = 0.99
MOST_TEXTS = 50


def refine_texts(label: Tensor, texts: Tensor) -> Tensor:
    """Keep one of descriptions that say nearly the same, as BiFTA does.

    Greedy by descending cosine with the label prompt: a description is kept while its cosine with
    every kept one is below 0.99, at most 50 of them.

    label: `(dim,)`; texts: `(texts, dim)`. Returns the kept rows, the most similar to the label
    first, float64 `(kept, dim)`.
    """
    exact = texts.double()
    is_repeated = (exact @ exact.T >= REPEATED_COSINE).numpy()  # whose small steps wake no threads
    kept: list[int] = []
    for row in (exact @ label.double()).argsort(descending=True, stable=True).tolist():
        if len(kept) < MOST_TEXTS and not is_repeated[row, kept].any():
            kept.append(row)
    return exact[kept]


REFINED_DESCRIPTIONS = TextSide(
    "refined_descriptions",
    "refined descriptions",
    "sum_j v_j t_j over kept t_j",
    "description",
    lambda label, texts, scale: unit(weighted_text_sum(label, refine_texts(label, texts), scale)),
    weights="v = softmax_j(e^2 <t_j, t_0>)",
    settings=f"--text-scale {TEXT_SCALE:g}",
    source=SOURCE,
)
WCA_REFINED = Method(
    "wca_refined",
    "WCA, refined texts",
    (WEIGHTED_CROPS, REFINED_DESCRIPTIONS),
    SOURCE,
    preference=8,
)
