"""AWT: views and texts weigh by how sure they are of a class; optimal transport matches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.methods.entropy import entropy, replaced_entropy
from tasks.methods.inputs import ClassTexts, MethodOptions, Scene
from tasks.methods.method import Method, Rule, Source

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Zhu et al.",
    "AWT: Transferring Vision-Language Models via Augmentation, Weighting, and Transportation",
    "NeurIPS 2024",
    "2407.04603",
)
# The transport is found when its scaling changes by less on average, or after so many steps.
TRANSPORT_CHANGE = 0.01
TRANSPORT_STEPS = 100
# Images at a time: 4 x 51 views x 51,000 texts are 42 MB of cosines, half as long a product as one
# by one.
IMAGE_BLOCK = 4


class AwtOptions(MethodOptions):
    """The parameters of AWT."""

    views: Annotated[
        int, Field(ge=1, description="Views of an image, the whole among them; all if fewer.")
    ] = 51
    descriptions: Annotated[
        int, Field(ge=0, description="Descriptions of a class, from the first; all if fewer.")
    ] = 50
    temperature: Annotated[
        float, Field(ge=0.01, le=100, description="What entropies are divided by in the weights.")
    ] = 0.5
    # exp(-2 / 0.05) is what float32 can still divide by
    regularisation: Annotated[
        float,
        Field(ge=0.05, le=100, description="Entropic regularisation of the optimal transport."),
    ] = 0.1


def awt_scores(
    views: Tensor,
    texts: ClassTexts,
    logit_scale: float,
    temperature: float = 0.5,
    regularisation: float = 0.1,
) -> Tensor:
    """Score images by AWT: transport between their views and the texts of each class.

    L_nmc = tau <p_n, t_cm>, and H is the entropy of a softmax over classes. View weights are a_n =
    softmax_n(-H_n / temperature), with H_n that of mean_m L_nmc. Text weights are b_cm =
    softmax_m(-H_cm / temperature), with H_cm that of the logits of the whole image, mean_m L_0mc,
    in which L_0mc stands in the place of class c. The score is sum_nm P_nm <p_n, t_cm>, where P is
    the transport from a to b_c that `transport` finds.

    Parameters
    ----------
    views : Tensor
        `(images, views, dim)`, the whole first.
    texts : ClassTexts
        Of each class the label prompt and then "<label prompt> <description>".
    logit_scale : float
        The encoder's, tau. A sigmoid encoder's bias would be in all logits and cancels in H.
    temperature, regularisation : float
        Above 0.

    Returns
    -------
    Tensor
        `(images, classes)`, in the format of the views, a weighted mean of cosines, -1 to 1. The
        published score is this times the logit scale.

    References
    ----------
    Zhu et al., NeurIPS 2024, https://arxiv.org/abs/2407.04603, and the program released with it.

    Examples
    --------
    >>> import torch
    >>> texts = ClassTexts(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), (2, 1))
    >>> awt_scores(torch.tensor([[[0.96, 0.28], [0.6, 0.8]]]), texts, 100.0)
    tensor([[0.9494, 0.4490]])

    """
    import torch

    matrix = texts.padded.flatten(0, 1).T
    scores = []
    for start in range(0, len(views), IMAGE_BLOCK):
        block = views[start : start + IMAGE_BLOCK]
        scores += [
            _score(cosines, texts, logit_scale, temperature, regularisation)
            for cosines in (block @ matrix).view(*block.shape[:2], *texts.is_present.shape)
        ]
    return torch.stack(scores)


def _score(
    cosines: Tensor,
    texts: ClassTexts,
    logit_scale: float,
    temperature: float,
    regularisation: float,
) -> Tensor:
    """Score an image by its cosines `(views, classes, texts)`; those of missing texts are 0."""
    import torch

    logits = logit_scale * cosines.sum(dim=2) / torch.tensor(texts.counts)
    view_weights = (-entropy(logits) / temperature).softmax(dim=0)
    entropies = replaced_entropy(logits[0], logit_scale * cosines[0])
    text_logits = (-entropies / temperature).where(texts.is_present, -torch.inf)
    text_weights = text_logits.softmax(dim=1).to(cosines.dtype)
    plan = transport(cosines, texts.is_present, view_weights, text_weights, regularisation)
    return plan.mul_(cosines).sum(dim=(0, 2))


def transport(
    cosines: Tensor,
    is_present: Tensor,
    view_weights: Tensor,
    text_weights: Tensor,
    regularisation: float = 0.1,
) -> Tensor:
    """Find the optimal transport between the views of an image and the texts of each class.

    The cost is 1 - cosine. Sinkhorn's algorithm: K = exp(-(1 - cosine) / regularisation); from
    r = c = 1 repeat r = a / (K c), c = b / (K^T r) until |change of r| is below 0.01 on average
    over all classes and views, at most 100 times; P = diag(r) K diag(c).

    cosines: `(views, classes, texts)`; is_present: `(classes, texts)`, False where a class has
    fewer texts; view_weights, a: `(views,)`, and text_weights, b: `(classes, texts)`, which sum to
    1 over views and over texts. Returns `(views, classes, texts)`; each class's entries sum to 1.
    """
    import torch

    kernel = ((cosines - 1) / regularisation).exp() * is_present
    sources = view_weights.unsqueeze(1)
    rows = torch.ones_like(cosines[:, :, 0])
    columns = torch.ones_like(cosines[0])
    for _ in range(TRANSPORT_STEPS):
        before = rows
        rows = sources / (kernel * columns).sum(dim=2)
        reached = (kernel * rows.unsqueeze(2)).sum(dim=0)
        columns = text_weights / reached.where(is_present, 1.0)
        if (rows - before).abs().mean() < TRANSPORT_CHANGE:
            break
    return kernel.mul_(rows.unsqueeze(2)).mul_(columns)


def _scores(scene: Scene) -> Tensor:
    options = scene.options_of(AwtOptions)
    return awt_scores(
        scene.views(options.views),
        scene.texts["prompted_description"].first(1 + options.descriptions),
        scene.logit_scale,
        options.temperature,
        options.regularisation,
    )


AWT = Method(
    "awt",
    "AWT",
    Rule(
        "prompted_description",
        "sum_ij P_ij <p_i, t_j>, P the transport of softmax_i(-H_i / 0.5) to softmax_j(-H_j / 0.5)",
        _scores,
        "51 C 51 D",
        "the whole and the first 50 crops",
        options=AwtOptions,
    ),
    SOURCE,
    is_default=False,
    published_strategy="random_resized",
)
