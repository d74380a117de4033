"""What methods compute from: a block of images with their views, and the texts of all classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor


class MethodOptions(BaseModel):
    """The parameters of a method or a side, with their published values as defaults.

    `--method-option NAME.FIELD=VALUE` sets one; each field has a description and bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True)
class ClassTexts:
    """The texts of one kind of all classes; classes may have different numbers of texts.

    embeddings: float32 `(texts, dim)`, class by class. counts: the number of texts of each class,
    at least 1.
    """

    embeddings: Tensor
    counts: tuple[int, ...]

    @property
    def by_class(self) -> list[Tensor]:
        """The texts of each class: `(texts, dim)`."""
        ends = (0, *accumulate(self.counts))
        return [self.embeddings[first:end] for first, end in pairwise(ends)]

    def first(self, most: int) -> ClassTexts:
        """Keep at most so many texts of each class, from the first."""
        if max(self.counts) <= most:
            return self
        import torch

        counts = tuple(min(count, most) for count in self.counts)
        return ClassTexts(torch.cat([texts[:most] for texts in self.by_class]), counts)

    @cached_property
    def padded(self) -> Tensor:
        """The embeddings as `(classes, most, dim)`: after a class's own texts come zeros."""
        from torch.nn.utils.rnn import pad_sequence

        return pad_sequence(self.by_class, batch_first=True)

    @cached_property
    def is_present(self) -> Tensor:
        """Whether an entry of `padded` is a text: `(classes, most)`."""
        import torch

        return torch.arange(max(self.counts)) < torch.tensor(self.counts).unsqueeze(1)


@dataclass(frozen=True)
class Scene:
    """A block of images with their views, and the classes that they are compared with.

    Embeddings are float32 and of length 1. What only some methods need is None, or empty, where
    none of them is scored. Whole blocks are filled up with images whose embeddings are zeros, and
    what is computed for these is thrown away.

    Attributes
    ----------
    whole : Tensor
        `(images, dim)`, the embeddings of the whole images.
    crops : Tensor
        `(images, crops, dim)`, those of the pool of crops.
    counts : Tensor
        float64 `(runs, crops)`, how often each run draws each crop.
    image_scale : float or None
        Exponent of the scale of the crop weights; None: equal weights.
    is_present : Tensor or None
        bool `(images, crops)`: False where a crop of the pool is not embedded, whose row of `crops`
        is zeros. None where all are.
    boxes : Tensor or None
        int64 `(images, crops, 4)`: left, top, width and height of each crop in pixels.
    sizes : Tensor or None
        int64 `(images, 2)`: width and height of the upright images in pixels.
    labels : Tensor or None
        `(classes, dim)`, the label prompts.
    texts : mapping
        From a kind of texts to the `ClassTexts` of that kind; `label` is among them.
    logit_scale, logit_bias : float, float or None
        The encoder's: a logit is scale x cosine + bias. A bias is a sigmoid encoder's.
    options : mapping
        From the classes of `MethodOptions` to the options that were set.

    """

    whole: Tensor
    crops: Tensor
    counts: Tensor
    image_scale: float | None
    is_present: Tensor | None = None
    boxes: Tensor | None = None
    sizes: Tensor | None = None
    labels: Tensor | None = None
    texts: Mapping[str, ClassTexts] = field(default_factory=dict)
    logit_scale: float = 100.0
    logit_bias: float | None = None
    options: Mapping[type[MethodOptions], MethodOptions] = field(default_factory=dict)

    def views(self, most: int) -> Tensor:
        """Return at most so many views of each image, the whole first: `(images, views, dim)`."""
        import torch

        return torch.cat([self.whole.unsqueeze(1), self.crops[:, : most - 1]], dim=1)

    def options_of(self, kind: type[Options]) -> Options:
        """Return the options of a class as they were set, or its defaults."""
        found = self.options.get(kind)
        return found if isinstance(found, kind) else kind()
