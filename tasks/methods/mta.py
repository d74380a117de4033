"""MTA's mode: where an image's views are densest, by mean shift with a weight for each view."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from tasks.methods.inputs import MethodOptions, Scene
from tasks.methods.means import LABEL
from tasks.methods.method import ImageSide, Method, Source

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

SOURCE = Source(
    "Zanella and Ben Ayed",
    "On the test-time zero-shot generalization of vision-language models: Do we really need prompt "
    "learning?",
    "CVPR 2024",
    "2405.02266",
)
STEPS = 5  # of the mode and the weights in turn, and of each alone
LEAST_CHANGE = 1e-6  # a step that changes less is the last one
# Views that are all equal have no bandwidth; a squared one of this size leaves them at density 1.
LEAST_BANDWIDTH = 1e-12


class MtaOptions(MethodOptions):
    """The parameters of MTA."""

    views: Annotated[
        int, Field(ge=1, description="Views of an image, the whole among them; all if fewer.")
    ] = 64
    keep: Annotated[
        float, Field(gt=0, le=1, description="Share of the other views that make a bandwidth.")
    ] = 0.3
    affinity: Annotated[
        float, Field(ge=0, description="How much views that predict alike support each other.")
    ] = 4.0
    temperature: Annotated[
        float, Field(gt=0, description="Of the softmax that makes the weights of the views.")
    ] = 0.2


def find_modes(
    views: Tensor,
    labels: Tensor,
    logit_scale: float,
    keep: float = 0.3,
    affinity: float = 4.0,
    temperature: float = 0.2,
) -> Tensor:
    """Find the mode of each image's views, as MTA does.

    h_i^2 is half the mean of the floor(keep (V - 1)) smallest squared distances from view i to
    other views, and A_ij the product of the softmaxes of views i and j over the classes. From y =
    1 / V and m = p_0, five times: d_i = exp(-|p_i - m|^2 / (2 h_i^2)); up to five times y =
    softmax((d + affinity A y) / temperature); then up to five times d anew and m =
    n(sum d_i y_i p_i / sum d_i y_i). Each of the two ends early when y or m changes by less than
    1e-6. Of fewer than five views one other view makes a bandwidth; a single view is the mode.

    Parameters
    ----------
    views : Tensor
        `(images, views, dim)`, the whole first.
    labels : Tensor
        `(classes, dim)`, the label prompts.
    logit_scale : float
        The encoder's.
    keep, affinity, temperature : float
        See `MtaOptions`.

    Returns
    -------
    Tensor
        float64 `(images, dim)`, of length 1.

    References
    ----------
    Zanella and Ben Ayed, CVPR 2024, https://arxiv.org/abs/2405.02266, and the program released with
    it.

    Examples
    --------
    The whole image lies apart from its crops, which agree.

    >>> import torch
    >>> views = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.96, 0.28], [0.96, -0.28]]])
    >>> find_modes(views, torch.eye(2), 100.0).round(decimals=2)
    tensor([[1., 0.]], dtype=torch.float64)

    """
    import torch

    if views.shape[1] == 1:
        return views[:, 0].double()
    exact = views.double()
    space = _ViewSpace.of(exact, keep)
    affinities = []
    classes = labels.double().T
    for image in exact:  # alone, so that no other image decides how its logits are rounded
        sureness = (logit_scale * (image @ classes)).softmax(dim=1)
        affinities.append(sureness @ sureness.T)
    support = affinity * torch.stack(affinities)
    weights = torch.full_like(space.squares, 1 / views.shape[1])
    mode = torch.zeros_like(space.squares)
    mode[:, 0] = 1
    for _ in range(STEPS):
        weigh = partial(_weigh_views, space.densities(mode), support, temperature)
        weights = _repeat(weigh, weights, _square)
        mode = _repeat(partial(space.shift, weights), mode, space.square)
    return mode.unsqueeze(1).bmm(exact).squeeze(1)


class _ViewSpace(NamedTuple):
    """The space that an image's views span: a vector is its coefficients `(images, views)`.

    All lengths and distances follow from products of views, so that no step costs a vector's
    length. products: `(images, views, views)`, of each two views; squares: `(images, views)`, of
    each with itself. bandwidths: `(images, views)`, 2 h_i^2.
    """

    products: Tensor
    squares: Tensor
    bandwidths: Tensor

    @classmethod
    def of(cls, views: Tensor, keep: float) -> _ViewSpace:
        """Measure the views, float64 `(images, views, dim)`, of which there are at least two."""
        import torch

        products = views.bmm(views.mT)
        squares = products.diagonal(dim1=1, dim2=2)
        distances = squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * products
        distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # a view is no other view
        count = max(1, int(keep * (views.shape[1] - 1)))
        nearest = distances.sort(dim=2).values[:, :, :count].clamp_min(0)
        return cls(products, squares, nearest.mean(dim=2).clamp_min(LEAST_BANDWIDTH))

    def square(self, vector: Tensor) -> Tensor:
        """Square the length of a vector: `(images, 1)`."""
        return (vector * _times(self.products, vector)).sum(dim=1, keepdim=True)

    def densities(self, mode: Tensor) -> Tensor:
        """Compute d_i, how dense it is at the mode by the kernel of each view."""
        along = _times(self.products, mode)
        square = (mode * along).sum(dim=1, keepdim=True)
        distances = (self.squares + square - 2 * along).clamp_min(0)
        return (-distances / self.bandwidths).exp()

    def shift(self, weights: Tensor, mode: Tensor) -> Tensor:
        """Move the mode to the weighted mean of the views, at length 1."""
        mean = self.densities(mode) * weights
        return mean / self.square(mean).sqrt()


def _weigh_views(density: Tensor, support: Tensor, temperature: float, weights: Tensor) -> Tensor:
    return ((density + _times(support, weights)) / temperature).softmax(dim=1)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Multiply symmetric matrices `(images, views, views)` and vectors `(images, views)`."""
    return vectors.unsqueeze(1).bmm(matrices).squeeze(1)


def _square(vector: Tensor) -> Tensor:
    return vector.square().sum(dim=1, keepdim=True)


def _repeat(
    step: Callable[[Tensor], Tensor], values: Tensor, square: Callable[[Tensor], Tensor]
) -> Tensor:
    """Repeat a step; each image ends for itself after one that changes its values little enough.

    square: of a change, the squared length `(images, 1)`.
    """
    is_moving = values.new_ones(len(values), 1).bool()
    for _ in range(STEPS):
        new = step(values)
        change = square(new - values)
        values = new.where(is_moving, values)
        is_moving = is_moving & (change >= LEAST_CHANGE**2)
        if not is_moving.any():
            break
    return values


def _modes(scene: Scene) -> Tensor:
    options = scene.options_of(MtaOptions)
    modes = find_modes(
        scene.views(options.views),
        scene.texts["label"].embeddings,
        scene.logit_scale,
        options.keep,
        options.affinity,
        options.temperature,
    )
    return modes.to(scene.whole.dtype).unsqueeze(1)


MODE = ImageSide(
    "mode",
    "MTA's mode",
    "m",
    _modes,
    "64 C D",
    "m = n(sum_i d_i y_i p_i), d_i the density at m, y = softmax((d + 4 A y) / 0.2)",
    has_draws=False,
    is_unit=True,
    views="the whole and the first 63 crops",
    needs_labels=True,
    source=SOURCE,
    options=MtaOptions,
)
MTA = Method(
    "mta",
    "MTA",
    (MODE, LABEL),
    SOURCE,
    is_default=False,
    published_strategy="random_resized",
)
