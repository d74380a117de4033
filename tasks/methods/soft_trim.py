"""CGBC's soft trim: texts far below a class's median similarity with the image count less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.methods.inputs import ClassTexts, MethodOptions, Scene
from tasks.methods.method import Method, Rule, Source

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Liu et al.",
    "Beyond Heuristic Prompting: A Concept-Guided Bayesian Framework for Zero-Shot Image "
    "Recognition",
    "CVPR 2026",
    "2603.07911",
)
# Added to the median deviation, so that texts of equal similarity divide nothing by zero.
LEAST_DEVIATION = 1e-6
# Texts at a time: with 64 images 4 MB of similarities.
TEXT_BLOCK = 16384


class SoftTrimOptions(MethodOptions):
    """The parameters of CGBC's soft trim."""

    outlier: Annotated[
        float, Field(gt=0, description="Median deviations from which a text is an outlier.")
    ] = 2.5
    least_slope: Annotated[float, Field(gt=0, description="Least slope of the weights.")] = 0.1
    most_slope: Annotated[float, Field(gt=0, description="Largest slope of the weights.")] = 4.0


def soft_trim(
    whole: Tensor,
    texts: ClassTexts,
    logit_scale: float,
    outlier: float = 2.5,
    slopes: tuple[float, float] = (0.1, 4.0),
) -> Tensor:
    """Score images by the mean of their logits with each class's texts, outliers trimmed softly.

    Of the logits s_m = tau <p_0, t_m> of a class, med is the lower median, MAD the lower median of
    |s - med|, plus 1e-6, and rho the share with |s - med| > outlier MAD. With kappa =
    log((1 - rho) / rho) held within `slopes`, texts weigh w_m = sigmoid(kappa (s_m - med) / MAD),
    so that those far below the median weigh nearly nothing and those above it fully.

    Parameters
    ----------
    whole : Tensor
        `(images, dim)`; there are no crops.
    texts : ClassTexts
        The descriptions of all classes.
    logit_scale : float
        The encoder's, tau. A sigmoid encoder's bias would be in every s_m and change no order.
    outlier : float
        From how many median deviations a text is an outlier.
    slopes : tuple of float
        The least and the largest kappa.

    Returns
    -------
    Tensor
        `(images, classes)`, in the format of the images: sum w s / sum w, divided by the logit
        scale so that it is a cosine as the scores of other methods, -1 to 1.

    References
    ----------
    Liu et al., CVPR 2026, https://arxiv.org/abs/2603.07911: the adaptive soft-trim likelihood as
    the released program computes it.

    Examples
    --------
    Only the third text resembles another image, and hardly counts.

    >>> import torch
    >>> texts = ClassTexts(torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.0, 1.0]]), (3,))
    >>> soft_trim(torch.tensor([[1.0, 0.0]]), texts, 100.0)
    tensor([[0.9829]])

    """
    import torch

    size = max(1, TEXT_BLOCK // texts.padded.shape[1])  # classes at a time: each is by itself
    parts = []
    for start in range(0, len(texts.counts), size):
        end = start + size
        padded, is_present = texts.padded[start:end], texts.is_present[start:end]
        count = torch.tensor(texts.counts[start:end])
        logits = (logit_scale * (whole @ padded.flatten(0, 1).T)).view(-1, *is_present.shape)
        offset = logits - _lower_median(logits, is_present, count)
        deviation = offset.abs()
        median_deviation = _lower_median(deviation, is_present, count) + LEAST_DEVIATION
        is_outlier = (deviation > outlier * median_deviation) & is_present
        share = is_outlier.sum(dim=2, keepdim=True) / count.unsqueeze(1)
        slope = ((1 - share) / share).log().clamp(*slopes)  # no outlier: log inf, the largest
        weights = (slope * offset / median_deviation).sigmoid() * is_present
        parts.append((weights * logits).sum(dim=2) / weights.sum(dim=2) / logit_scale)
    return torch.cat(parts, dim=1)


def _lower_median(values: Tensor, is_present: Tensor, counts: Tensor) -> Tensor:
    """Find the middle value of each class, of an even number the lower: `(images, classes, 1)`.

    values: `(images, classes, most)`; is_present: `(classes, most)`; counts: `(classes,)`.
    """
    import torch

    ordered = values.where(is_present, torch.inf).sort(dim=2).values
    middle = ((counts - 1) // 2).unsqueeze(1).expand(len(values), -1, 1)
    return ordered.gather(2, middle)


def _scores(scene: Scene) -> Tensor:
    options = scene.options_of(SoftTrimOptions)
    return soft_trim(
        scene.whole,
        scene.texts["description"],
        scene.logit_scale,
        options.outlier,
        (options.least_slope, options.most_slope),
    )


SOFT_TRIM = Method(
    "soft_trim",
    "CGBC, soft trim",
    Rule(
        "description",
        "sum_j w_j s_j / sum_j w_j, s_j = tau <p_0, t_j>, w_j = sigmoid(kappa (s_j - med) / MAD)",
        _scores,
        "C M D",
        "the whole",
        needs_crops=False,
        options=SoftTrimOptions,
    ),
    SOURCE,
    is_default=False,
)
