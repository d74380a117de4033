"""ABS's soft matching: similarities of crops and texts, weighed by a softmax over all texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.methods.inputs import ClassTexts, MethodOptions, Scene
from tasks.methods.method import Method, Rule, Source

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Cai et al.",
    "From Local Details to Global Context: Advancing Vision-Language Models with Attention-Based "
    "Selection",
    "ICML 2025",
    "2505.13233",
)


class SoftMatchOptions(MethodOptions):
    """The parameters of ABS's soft matching."""

    temperature: Annotated[
        float,
        Field(gt=0, description="What similarities are divided by, in the softmax and the sum."),
    ] = 0.03
    descriptions: Annotated[
        int, Field(ge=1, description="Descriptions of a class, from the first; all if fewer.")
    ] = 50


def soft_match(crops: Tensor, texts: ClassTexts, temperature: float = 0.03) -> Tensor:
    """Score images by ABS's soft matching of crops and descriptions.

    With S_ncm = <p_n, t_cm> / temperature and q_n the softmax of S_n over the descriptions m of all
    classes c, the score of class c is sum_n sum_m q_ncm S_ncm. A crop counts for the classes that
    it resembles most, and the more descriptions a class has, the more it can gain.

    Parameters
    ----------
    crops : Tensor
        `(images, crops, dim)`.
    texts : ClassTexts
        The descriptions of all classes.
    temperature : float
        Above 0; an encoder's logit scale is not used.

    Returns
    -------
    Tensor
        `(images, classes)`, in the format of the crops; from -1 to 1 times crops / temperature.

    References
    ----------
    Cai et al., ICML 2025, https://arxiv.org/abs/2505.13233, algorithm 1: the last step. The method
    also chooses crops by an attention map and crops feature maps, which this does not.

    Examples
    --------
    >>> import torch
    >>> texts = ClassTexts(torch.eye(2), (1, 1))
    >>> soft_match(torch.tensor([[[1.0, 0.0]]]), texts, temperature=1.0)
    tensor([[0.7311, 0.0000]])

    """
    import torch

    class_of = torch.repeat_interleave(torch.tensor(texts.counts))
    scores = crops.new_zeros(len(crops), len(texts.counts))
    for image, own in zip(crops, scores, strict=True):  # 100 crops x 50,000 texts are 20 MB
        similarity = image @ texts.embeddings.T / temperature
        matched = similarity.softmax(dim=1).mul_(similarity).sum(dim=0)
        own.index_add_(0, class_of, matched)
    return scores


def _scores(scene: Scene) -> Tensor:
    options = scene.options_of(SoftMatchOptions)
    texts = scene.texts["description"].first(options.descriptions)
    return soft_match(scene.crops, texts, options.temperature)


SOFT_MATCH = Method(
    "soft_match",
    "ABS, soft matching",
    Rule(
        "description",
        "sum_ij q_ij S_ij, S_ij = <p_i, t_j> / 0.03, q_i the softmax over the texts of all classes",
        _scores,
        "N C 50 D",
        "the pool of crops; as published they are chosen by an attention map",
        is_cosine=False,
        options=SoftMatchOptions,
    ),
    SOURCE,
    is_default=False,
)
