"""ZERO: the surest views of an image vote for their best class, at temperature zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.methods.entropy import entropy
from tasks.methods.inputs import MethodOptions, Scene
from tasks.methods.method import Method, Rule, Source
from tasks.methods.products import compute_scores, find_repeats

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Farina et al.",
    "Frustratingly Easy Test-Time Adaptation of Vision-Language Models",
    "NeurIPS 2024",
    "2405.18330",
)


class ZeroOptions(MethodOptions):
    """The parameters of ZERO."""

    views: Annotated[
        int, Field(ge=1, description="Views of an image, the whole among them; all if fewer.")
    ] = 64
    keep: Annotated[
        float,
        Field(gt=0, le=1, description="Share of the views that vote: those surest of a class."),
    ] = 0.3


def count_votes(views: Tensor, labels: Tensor, logit_scale: float, keep: float = 0.3) -> Tensor:
    """Count the votes that the surest views of each image give to each class, as ZERO does.

    Of V views the floor(keep V) vote whose softmax over the classes has least entropy, each for its
    best class. If several classes have most votes, one of them gets a vote more: the best class of
    the first remaining view, in order of entropy, whose best class is one of them; if there is no
    such view, the one that the first remaining view likes best. Views of equal entropy are taken in
    their order, and the first of equal classes is the best of a view.

    Parameters
    ----------
    views : Tensor
        `(images, views, dim)`.
    labels : Tensor
        `(classes, dim)`, the label prompts.
    logit_scale : float
        The encoder's.
    keep : float
        The share of views that vote, 0 to 1.

    Returns
    -------
    Tensor
        `(images, classes)`, in the format of the views: votes, whole numbers. The class with most
        is the prediction; among classes without votes no order is meant.

    References
    ----------
    Farina et al., NeurIPS 2024, https://arxiv.org/abs/2405.18330. The released program goes through
    the remaining views in the order they were drawn.

    Examples
    --------
    >>> import torch
    >>> labels = torch.eye(2)
    >>> views = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]]])
    >>> count_votes(views, labels, 100.0, keep=0.4), count_votes(views, labels, 100.0, keep=1.0)
    (tensor([[1., 0.]]), tensor([[2., 1.]]))

    """
    import torch

    repeats = find_repeats(labels)
    voters = int(views.shape[1] * keep)
    counted = []
    for image in views:  # alone, so that no other image decides how its logits are rounded
        cosines = compute_scores(image, labels, repeats)
        order = entropy(logit_scale * cosines).argsort(stable=True)
        best = cosines.argmax(dim=1)[order]
        votes = best[:voters].bincount(minlength=len(labels)).to(views.dtype)
        is_top = votes == votes.max()
        remaining = best[voters:]
        if is_top.sum() > 1 and len(remaining):
            deciding = remaining[is_top[remaining]]
            first = cosines[order[voters]].where(is_top, -torch.inf)
            votes[deciding[0] if len(deciding) else first.argmax()] += 1
        counted.append(votes)
    return torch.stack(counted)


def _scores(scene: Scene) -> Tensor:
    options = scene.options_of(ZeroOptions)
    return count_votes(
        scene.views(options.views), scene.texts["label"].embeddings, scene.logit_scale, options.keep
    )


ZERO = Method(
    "zero",
    "ZERO",
    Rule(
        "label",
        "votes for the largest <p_i, t_0>, of the 30 % of views with least entropy",
        _scores,
        "64 C D",
        "the whole and the first 63 crops",
        is_cosine=False,
        options=ZeroOptions,
    ),
    SOURCE,
    is_default=False,
    published_strategy="random_resized",
)
