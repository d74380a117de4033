"""How many crops of an image are enough: their order, and when no more are needed.

WCA over a pool of crops decides by the signs of D_c = sum_i u_i d_ic. Here u_i = exp(k <p_i, p_0>)
with k = e^image_scale, and d_ic = <p_i, T_a - T_c> is how much better the best class a fits crop i
than class c. A crop that covers much of what the encoder sees of the whole image is similar to it
and weighs most, so crops are encoded in the order of that cover.

Embeddings of views that overlap are similar. Over the views of one image an embedding is taken for
a Gaussian process with an unknown mean, whose covariance is the overlap of the views (intersection
over union, a positive definite kernel), a part that only the view itself has, and a trend with the
cover. Its prediction of the crops still out (ordinary kriging) uses the same weights for every
class, the whole image included, and nothing is fitted before. From it come the weights r_j of the
crops still out and D_c with its variance. An image is settled when for every class c

    D_c / sqrt(var D_c) >= the quantile of Student's t with n degrees of freedom at the wanted
    agreement,

n the number of crops seen, since the process's variance is estimated from 1 + n views. The left
side says how probable it is that the pool decides otherwise; however often one looks, a stop at
which that is less than 1 - agreement is wrong in less than that share of stops. docs/budget.md has
the derivation and what was measured.

References
----------
Bouchard, Jousselme & Doré, "A proof for the positive definiteness of the Jaccard index matrix",
International Journal of Approximate Reasoning 54 (2013); Cressie, "Statistics for Spatial Data"
(1993), section 3.2, for ordinary kriging.

"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Numbers of crops after which an image may stop: with the whole image they fill batches of eight
# views, one at a time while most images stop.
LOOKS = (7, 15, 23, 31, 39, 47, 63, 79)
# Variance that only one view has, and that of the trend, in units of the variance shared by equal
# views. Chosen on the sixteen photographs; half or twice as much changes little (docs/budget.md).
OWN_VARIANCE, TREND_VARIANCE = 0.05, 1.0
# A length that is rounded to float16 exceeds 1 by less than half of this.
LONGER = 1e-3
# Squared distance of class vectors below which they are equal: the same texts, rounded apart.
SAME_DISTANCE = 1e-12
# The bound holds after any number of halvings; after these it exceeds the greatest by 0.1 %.
HALVINGS = 14

Reason = Literal["certain", "settled", "pool"]


class Decision(NamedTuple):
    """What the crops seen so far say about an image's class over the whole pool.

    class_index: WCA's class over the crops seen. reason: why no more are needed: `certain`, no
    embeddings of the others can change the class; `settled`, they are not expected to; `pool`, all
    were seen; None, more are needed. margin: the least D_c / sqrt(var D_c) of the other classes,
    inf where nothing is uncertain. effective_count: 1 / sum w^2, of the crops seen.
    weight_seen: the predicted share of the pool's weight that was seen. next_count: crops needed
    before the next decision; those seen where no more are needed.
    """

    class_index: int
    reason: Reason | None
    margin: float
    effective_count: float
    weight_seen: float
    next_count: int


class Views(NamedTuple):
    """The views of an image, the encoder's view of the whole first, in the order of encoding.

    cover: `(1 + crops,)`, the share of the first view that each covers. covariance:
    `(1 + crops, 1 + crops)`, in units of the variance that equal views share.
    """

    cover: Floats
    covariance: Floats

    @classmethod
    def place(
        cls, boxes: ArrayLike, width_px: int, height_px: int, *, is_cropped: bool = True
    ) -> Views:
        """Place the views of an image; the arguments are those of `order_crops`."""
        edges = _find_edges(boxes, width_px, height_px, is_cropped=is_cropped)
        shared = _intersect(edges, edges)
        areas = shared.diagonal()
        cover = shared[0] / areas[0]
        overlap = shared / (areas[:, None] + areas - shared)
        trend = TREND_VARIANCE * np.outer(1 - cover, 1 - cover)
        return cls(cover, overlap + trend + OWN_VARIANCE * np.eye(len(cover)))


def _find_edges(boxes: ArrayLike, width_px: int, height_px: int, *, is_cropped: bool) -> Floats:
    """Left, top, right and bottom edges of the encoder's view of the whole, then of the crops."""
    crops = np.asarray(boxes, dtype=np.float64)
    crops = crops[:, :4] if len(crops) else np.empty((0, 4))
    side = min(width_px, height_px)
    width, height = (side, side) if is_cropped else (width_px, height_px)
    whole = [[(width_px - width) / 2, (height_px - height) / 2, width, height]]
    places = np.concatenate([whole, crops])
    return np.concatenate([places[:, :2], places[:, :2] + places[:, 2:]], axis=1)


def _intersect(edges: Floats, others: Floats) -> Floats:
    """Areas that boxes share, `(boxes, others)`."""
    low = np.maximum(edges[:, None, :2], others[None, :, :2])
    high = np.minimum(edges[:, None, 2:], others[None, :, 2:])
    area: Floats = (high - low).clip(min=0).prod(axis=2)
    return area


def order_crops(
    boxes: ArrayLike, width_px: int, height_px: int, *, is_cropped: bool = True
) -> list[int]:
    """Order crops by how much of what the encoder sees of the whole image they cover.

    Parameters
    ----------
    boxes : array_like
        `(crops, 4)`, left, top, width and height in pixels; further columns are not used.
    width_px, height_px : int
        Size of the upright image.
    is_cropped : bool
        Whether the encoder sees the central square of an image alone (`resize_mode` "shortest"),
        or all of it ("squash", "longest").

    Returns
    -------
    list of int
        Indices of crops from 1, as in `crop_index`, the greatest cover first; of equal covers the
        lower index.

    Examples
    --------
    >>> order_crops([[0, 0, 50, 50], [60, 0, 80, 80], [50, 0, 100, 100]], 200, 100)
    [3, 2, 1]
    """
    edges = _find_edges(boxes, width_px, height_px, is_cropped=is_cropped)
    cover = _intersect(edges[:1], edges[1:])[0]
    order: list[int] = (np.argsort(-cover, kind="stable") + 1).tolist()
    return order


class StopRule:
    """Decides after how many crops an image's class over the whole pool is settled.

    Parameters
    ----------
    class_vectors : array_like
        `(classes, dim)`, those of the method `wca`, in the order of the classes.
    image_scale : float or None
        Exponent of the scale of the crop weights; None: equal weights.
    agreement : float
        The share of images, above 0.5 and below 1, that shall have the class of the whole pool.

    Computed in float64, so that the order in which products are summed decides nothing.
    """

    def __init__(
        self, class_vectors: ArrayLike, image_scale: float | None, agreement: float
    ) -> None:
        self._classes = np.asarray(class_vectors, dtype=np.float64)
        self._lengths = (self._classes**2).sum(axis=1)
        self._scale = 0.0 if image_scale is None else math.exp(image_scale)
        self.agreement = agreement

    def find_quantile(self, count: int) -> float:
        """Find the quantile of Student's t at the wanted agreement, of `count` crops seen."""
        from scipy.special import stdtrit  # cached runs are spared its import

        return float(stdtrit(count, self.agreement))

    def decide(self, views: Views, whole: ArrayLike, crops: ArrayLike) -> Decision:
        """Decide whether an image needs more crops.

        views: of the whole image and all crops of the pool, in the order of encoding.
        whole: `(dim,)`; crops: `(n, dim)`, the first n of that order, n at least 1.
        """
        seen = np.concatenate([np.asarray(whole)[None], np.asarray(crops)]).astype(np.float64)
        count, pool = len(seen) - 1, len(views.cover) - 1
        similarity = seen @ seen[0]
        logits = self._scale * similarity[1:]
        highest = float(logits.max())
        weights = np.exp(logits - highest)
        products = seen @ self._classes.T
        scores = weights @ products[1:]
        best, total = int(scores.argmax()), float(weights.sum())
        effective_count = count_effective(logits)
        if count == pool:
            return Decision(best, "pool", math.inf, effective_count, 1.0, count)

        distances = self._lengths + self._lengths[best] - 2 * self._classes @ self._classes[best]
        rivals = np.flatnonzero(distances > SAME_DISTANCE)
        margins = products[:, [best]] - products[:, rivals]
        lead = weights @ margins[1:]
        rest = predict_rest(views, similarity, self._scale, highest)
        margin = rest.measure_margin(lead, margins)
        reason: Reason | None = None
        if self._is_certain(lead, margins[0], distances[rivals], pool - count, similarity, highest):
            reason = "certain"
        elif margin >= self.find_quantile(count):
            reason = "settled"
        return Decision(
            best,
            reason,
            margin,
            effective_count,
            total / (total + float(rest.weights.sum())),
            next_look(count, pool) if reason is None else count,
        )

    def _is_certain(
        self,
        lead: Floats,
        whole_margins: Floats,
        distances: Floats,
        rest_count: int,
        similarity: Floats,
        highest: float,
    ) -> bool:
        """Tell whether no unit vectors in place of the crops still out can change the class."""
        cosines = whole_margins / np.sqrt(distances * similarity[0])
        closest = np.argsort(lead)[:1]
        return all(  # the closest alone first: it nearly always says no
            (
                lead[some] / np.sqrt(distances[some])
                > rest_count * bound_change(cosines[some], self._scale, highest)
            ).all()
            for some in (closest, slice(None))
        )


class Rest(NamedTuple):
    """What is predicted of the crops still out.

    weights: theirs, in units of the heaviest seen. coefficients: `(1 + n,)`, of the seen views in
    the predicted weighted sum of the others. variance: of that sum, in units of the process's
    variance. precision: `(1 + n, 1 + n)`, the inverse covariance of the seen views about their
    mean.
    """

    weights: Floats
    coefficients: Floats
    variance: float
    precision: Floats

    def measure_margin(self, lead: Floats, margins: Floats) -> float:
        """Measure the least D_c / sqrt(var D_c).

        lead: `(rivals,)`, sum u_i d_ic over the crops seen; margins: `(1 + n, rivals)`, d_ic of all
        views seen.
        """
        predicted = lead + self.coefficients @ margins
        spread = (margins * (self.precision @ margins)).sum(axis=0) / (len(margins) - 1)
        deviation = np.sqrt((self.variance * spread).clip(min=0))
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: nothing is known of a tie
            ratios = np.nan_to_num(predicted / deviation, nan=-math.inf, posinf=math.inf)
        return float(ratios.min(initial=math.inf))


def predict_rest(views: Views, similarity: Floats, scale: float, highest: float) -> Rest:
    """Predict the weights and the weighted sum of the crops still out by ordinary kriging.

    similarity: `(1 + n,)`, of the views seen to the whole. scale, highest: the weight of a crop is
    exp(scale * similarity - highest).
    """
    count = len(similarity)
    cross, own = views.covariance[count:, :count], views.covariance[count:, count:]
    precision = np.linalg.inv(views.covariance[:count, :count])
    sums = precision.sum(axis=1)
    total = sums.sum()
    missing = 1 - cross @ sums  # what the mean of the seen views fills up
    expected = cross @ (precision @ similarity) + missing * (sums @ similarity / total)
    # a crop still out is not expected to outweigh all that were seen
    weights = np.exp(np.minimum(scale * expected - highest, 0.0))
    reach, filled = weights @ cross, weights @ missing
    coefficients = precision @ reach + sums * (filled / total)
    variance = weights @ own @ weights - reach @ precision @ reach + filled**2 / total
    about_mean = precision - np.outer(sums, sums) / total
    return Rest(weights, coefficients, float(variance), about_mean)


def bound_change(cosines: Floats, scale: float, highest: float) -> Floats:
    """Bound how much one crop that was not seen can take from the lead over a class.

    Its embedding is any vector p of length 1, and d the difference of the two class vectors, scaled
    to length 1: the greatest of -exp(scale <p, p_0> - highest) <p, d>, and what rounded embeddings
    may add. With theta the angle of p and p_0, and phi that of d and what is orthogonal to p_0,
    this is exp(scale cos theta - highest) sin(theta - phi), whose logarithm is concave up to
    theta = pi / 2; beyond that it is at most exp(-highest).

    Parameters
    ----------
    cosines : numpy.ndarray
        `(classes,)`, those of d and p_0.
    scale : float
        e^image_scale; 0 for equal weights.
    highest : float
        Weights are in units of exp(highest).

    Returns
    -------
    numpy.ndarray
        `(classes,)`, above 0.
    """
    phi = np.arcsin(cosines.clip(-1, 1))
    low, high = phi.clip(min=0), np.full(len(phi), math.pi / 2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # the logarithm's derivative, times sin(theta - phi) > 0
        is_rising = np.cos(middle - phi) > scale * np.sin(middle) * np.sin(middle - phi)
        low, high = np.where(is_rising, middle, low), np.where(is_rising, high, middle)
    with np.errstate(over="ignore"):
        peak = np.exp(scale * np.cos(low) - highest) * np.sin((high - phi).clip(max=math.pi / 2))
        most = np.maximum(peak, np.exp(-highest))
        return np.asarray(most * np.exp(scale * LONGER) * (1 + LONGER))


def count_effective(logits: Floats) -> float:
    """Count how many crops of equal weight say as much, 1 / sum w^2 with w = softmax(logits).

    >>> round(count_effective(np.array([0.0, 0.0, -50.0])), 6)
    2.0
    """
    weights = np.exp(logits - logits.max())
    return float(weights.sum() ** 2 / (weights @ weights))


def next_look(count: int, pool: int) -> int:
    """Return the number of crops after which an image is looked at next, at most the pool.

    >>> next_look(0, 100), next_look(7, 100), next_look(79, 100), next_look(0, 5)
    (7, 15, 100, 5)
    """
    return min(next((look for look in LOOKS if look > count), pool), pool)
