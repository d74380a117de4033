"""How a cost grows with a size: the exponent of a power law."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Less processor time above the constant is mostly noise.
LEAST_SEC = 1.0


def fit_exponent(values: Sequence[int], seconds: NDArray[np.float64]) -> float | None:
    """Fit e of `seconds = c * value ** e` by least squares of logarithms.

    None where fewer than two values took `LEAST_SEC`.
    """
    is_used = seconds >= LEAST_SEC
    if is_used.sum() < 2:
        return None
    logs = np.log(np.array(values)[is_used]), np.log(seconds[is_used])
    return float(np.polyfit(*logs, 1)[0])
