"""What a method is: an image side times a text side, or a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tasks.methods.inputs import MethodOptions, Scene

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor


class Source(NamedTuple):
    """A publication. venue: with the year. arxiv: its number."""

    authors: str
    title: str
    venue: str
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors}, {self.title}, {self.venue} (arXiv {self.arxiv})"


@dataclass(frozen=True)
class ImageSide:
    """One vector for each image and run.

    name: as in options. title: as people read it. formula: of the vector, in the symbols of
    docs/methods.md. vectors: from a scene to `(images, runs, dim)`, of any length.
    multiplications: for an image, empty for none. weights: the formula of its weights, if any.
    settings: the options of every run that decide it, with their published values.
    has_draws: False where there is one run, which draws nothing. is_adaptive: whether it takes the
    crops up to which an image's class is settled, `Scene.is_settled`. is_unit: whether the vectors
    have length 1 already, so that they are taken as they are. needs_crops: False where the whole
    image is enough. views: which views it takes, in words, where that does not follow.
    needs_labels: whether `Scene.labels` and the encoder's logits are needed. source: where it was
    published. options: the class of its parameters.
    """

    name: str
    title: str
    formula: str
    vectors: Callable[[Scene], Tensor]
    multiplications: str = ""
    weights: str = ""
    settings: str = ""
    has_draws: bool = True
    is_adaptive: bool = False
    is_unit: bool = False
    needs_crops: bool = True
    views: str = ""
    needs_labels: bool = False
    source: Source | None = None
    options: type[MethodOptions] | None = None


@dataclass(frozen=True)
class TextSide:
    """One vector for each class.

    name, title, formula, weights, settings, source: as of an image side. text_kind: the kind of
    texts that the vector is made of.
    vector: from the label prompt `(dim,)`, the class's texts `(texts, dim)` and the text scale to
    float64 `(dim,)`. is_normalised: whether both sides of the product are scaled to length 1; the
    printed sum scales neither.
    """

    name: str
    title: str
    formula: str
    text_kind: str
    vector: Callable[[Tensor, Tensor, float | None], Tensor]
    weights: str = ""
    settings: str = ""
    is_normalised: bool = True
    source: Source | None = None


@dataclass(frozen=True)
class Rule:
    """A score that is no product of two vectors: there is one run, which draws nothing.

    text_kind: the kind of texts that images are compared with; the label prompts are there as well.
    formula, multiplications: as of an image side. scores: from a scene to `(images, classes)`; of
    equal scores the class with the lower index wins. views: which views of an image it takes, in
    words. needs_crops: False where the whole image is enough. needs_boxes: whether `Scene.boxes`
    and `Scene.sizes` are needed. takes_partial_pool: whether images may lack crops of the pool, as
    `Scene.is_present` says. is_cosine: whether scores are means of cosines, which the encoder's
    logits make probabilities. options: the class of its parameters.
    """

    text_kind: str
    formula: str
    scores: Callable[[Scene], Tensor]
    multiplications: str
    views: str = "the whole and the pool of crops"
    needs_crops: bool = True
    needs_boxes: bool = False
    takes_partial_pool: bool = False
    is_cosine: bool = True
    options: type[MethodOptions] | None = None


@dataclass(frozen=True)
class Method:
    """A row of the results table: a pair of sides, or a rule.

    name: as in tables and options. title: as people read it. source: where it was published.
    preference: of several methods that were scored, pages look closely at the one with the highest.
    is_named: False for a pair that is known by its sides alone. is_default: whether it is scored
    unless methods are named. is_swept: the same of a sweep. published_strategy: the crop strategy
    that it was published with, where that is not WCA's.
    """

    name: str
    title: str
    score: tuple[ImageSide, TextSide] | Rule
    source: Source | None = None
    preference: int = 0
    is_named: bool = True
    is_default: bool = True
    is_swept: bool = False
    published_strategy: str = ""

    @property
    def rule(self) -> Rule | None:
        """The rule; None for a pair."""
        return self.score if isinstance(self.score, Rule) else None

    @property
    def image_side(self) -> ImageSide | None:
        """The image side of a pair; None for a rule."""
        return None if isinstance(self.score, Rule) else self.score[0]

    @property
    def text_side(self) -> TextSide | None:
        """The text side of a pair; None for a rule."""
        return None if isinstance(self.score, Rule) else self.score[1]

    @property
    def text_kind(self) -> str:
        """The kind of texts that images are compared with."""
        return self.score.text_kind if isinstance(self.score, Rule) else self.score[1].text_kind

    @property
    def has_draws(self) -> bool:
        """Whether the runs of the protocol draw crops, so that scores differ between runs."""
        return self.image_side is not None and self.image_side.has_draws

    @property
    def is_adaptive(self) -> bool:
        """Whether each image's scores rest on as many crops as settle its class."""
        return self.image_side is not None and self.image_side.is_adaptive

    @property
    def needs_crops(self) -> bool:
        """Whether crops decide its scores."""
        return self.score.needs_crops if isinstance(self.score, Rule) else self.score[0].needs_crops

    def needs_whole_pool(self, *, are_counted: bool) -> bool:
        """Tell whether it needs every crop of the pool.

        are_counted: whether a fixed number of crops stands in place of the draws of runs.
        """
        if isinstance(self.score, Rule):
            return self.score.needs_crops and not self.score.takes_partial_pool
        return self.needs_crops and not self.is_adaptive and not (are_counted and self.has_draws)

    @property
    def is_cosine(self) -> bool:
        """Whether scores are means of cosines, so that confidence can be judged by them."""
        return not isinstance(self.score, Rule) or self.score.is_cosine

    @property
    def needs_labels(self) -> bool:
        """Whether its scores rest on more than the vectors of its sides: texts, labels, logits."""
        return isinstance(self.score, Rule) or self.score[0].needs_labels

    @property
    def has_random_texts(self) -> bool:
        """Whether its figures change with random texts: published ones have no tolerance."""
        return self.text_kind == "waffle"

    @property
    def options(self) -> type[MethodOptions] | None:
        """The class of a rule's parameters; those of a pair belong to its image side."""
        return self.score.options if isinstance(self.score, Rule) else None
