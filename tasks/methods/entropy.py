"""The entropy of a softmax: how sure a view, or a text, is of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of the softmax over the last dimension, in nats.

    logits: `(..., classes)`; what is added to all of them, such as a sigmoid encoder's bias,
    changes nothing. Returns `(...)`, from 0 to the logarithm of the number of classes.

    Examples
    --------
    >>> import torch
    >>> entropy(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    tensor([0.6931, 0.1909])

    """
    logs = logits.log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1)


def replaced_entropy(logits: Tensor, replacements: Tensor) -> Tensor:
    """Compute the entropies after one logit at a time is replaced by another.

    Only the replaced term of each sum changes, so that all entropies together cost as much as one
    for each class. logits: `(classes,)`; replacements: `(classes, texts)`, what stands in a class's
    place. Returns float64 `(classes, texts)`.

    Examples
    --------
    >>> import torch
    >>> replaced_entropy(torch.tensor([0.0, 0.0]), torch.tensor([[0.0], [3.0]]))
    tensor([[0.6931],
            [0.1909]], dtype=torch.float64)

    """
    top = logits.argmax()
    shifted = logits.double() - logits[top].double()
    mass = shifted.exp()
    others = mass.sum() - mass
    # The largest term is most of the sum: taken away from it, nothing but rounding might be left.
    others[top] = mass[:top].sum() + mass[top + 1 :].sum()
    weighted = shifted * mass
    weighted_others = weighted.sum() - weighted
    new = replacements.double() - logits[top].double()
    new_mass = new.exp()
    total = others.unsqueeze(1) + new_mass
    return total.log() - (weighted_others.unsqueeze(1) + new * new_mass) / total
