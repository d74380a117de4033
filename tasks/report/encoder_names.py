"""Names of encoders as short as a table or a chart needs them."""

from collections.abc import Iterable
from pathlib import PurePath


def shorten_encoder_names(names: Iterable[str]) -> dict[str, str]:
    """Leave folders out of names that hold a path, where the names still differ.

    Examples
    --------
    >>> shorten_encoder_names(["photo-lite", "local-dir:/models/of/mine"])
    {'photo-lite': 'photo-lite', 'local-dir:/models/of/mine': 'local-dir:…/mine'}
    """
    short = {name: _shorten(name) for name in names}
    shown = list(short.values())
    return {name: brief if shown.count(brief) == 1 else name for name, brief in short.items()}


def _shorten(name: str) -> str:
    start, _, path = name.partition(":")
    if start == "hf-hub" or len(PurePath(path).parts) < 2:
        return name
    return f"{start}:…/{PurePath(path).name}"
