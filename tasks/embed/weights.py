"""What a file of weights says before its model is built: its logit scale and bias."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
from safetensors import SafetensorError, safe_open

from tasks.embed.identity import Logits
from tasks.runtime.errors import InputError, one_line


def read_logits(weights: Path, config: Mapping[str, Any]) -> Logits:
    """Read an encoder's learned logit scale and bias, and no other tensor where that is possible.

    config: open_clip's model configuration; a model has a bias if it has `init_logit_bias`. The
    scale is rounded to float32, so that it is the same on every machine. Raises InputError for a
    file without a logit scale, and what `explain_bad_weights` explains.
    """
    named = _read_scalars(weights, ("logit_scale", "logit_bias"))
    if "logit_scale" not in named:
        raise InputError(f"{weights} holds no logit_scale, so it is not a whole open_clip model.")
    scale = float(np.float32(math.exp(named["logit_scale"])))
    if config.get("init_logit_bias") is None:
        return Logits(scale=scale)
    return Logits(scale=scale, bias=named.get("logit_bias", 0.0))  # as open_clip fills it in


@contextmanager
def explain_bad_weights(name: str) -> Iterator[None]:
    """Raise InputError for an encoder whose weights cannot be read or do not fit its model."""
    try:
        yield
    except InputError:
        raise
    except UnpicklingError as error:
        raise InputError(
            f"The encoder {name} cannot be loaded: its file holds more than weights; "
            "convert it to safetensors if you trust it."
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = one_line(error, 300)
        raise InputError(f"The encoder {name} cannot be loaded: {reason}") from error


def _read_scalars(weights: Path, names: tuple[str, ...]) -> dict[str, float]:
    """Read those of some one-number tensors that a file holds, as open_clip finds them."""
    if weights.suffix == ".safetensors":
        with safe_open(weights, "pt") as file:
            return {n: float(file.get_tensor(n)) for n in names if n in set(file.keys())}
    if weights.suffix in (".npz", ".npy"):  # big_vision's SigLIP
        with np.load(weights) as file:
            short = {"logit_scale": "t", "logit_bias": "b"}
            prefix = "params/" if "params/b" in file else ""
            keys = {name: prefix + short[name] for name in names}
            return {name: float(file[key].item()) for name, key in keys.items() if key in file}
    import torch  # noqa: PLC0415 - seconds to import, and safetensors needs no more than this

    # a file that is no zip archive is of an old format, which cannot be mapped into memory
    state = torch.load(weights, map_location="cpu", weights_only=True, mmap=is_zipfile(weights))
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    prefix = "module." if next(iter(state), "").startswith("module.") else ""
    return {name: float(state[prefix + name]) for name in names if prefix + name in state}
