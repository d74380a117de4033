"""`wca threshold`: the score below which an image is `unknown`."""

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError


def threshold(
    run: str = "last",
    *,
    percentile: float | None = None,
    precision: float | None = None,
    method: str | None = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Find the score below which an image is none of the classes, from a recorded run.

    It holds for the run's encoder, method and list of classes: scores of others are not comparable.

    Example: wca threshold last --percentile 5

    Example: wca threshold 4c94d682 --precision 0.9

    Parameters
    ----------
    run
        A run of classify or benchmark, or the beginning of its name; by default the last one.
    percentile
        From images without labels that belong to the classes: this percentage of them, 0 to 100,
        would be unknown.
    precision
        From labelled images: the least share, 0 to 1, of right predictions among those answered.
    method
        The method; by default the one that `wca classify` takes, or else the page's.

    """
    from tasks.report.threshold import find_percentile, find_precision
    from tasks.store.tables import Store

    if (percentile is None) == (precision is None):
        raise InputError("Give either --percentile 5, or for labelled images --precision 0.9.")
    if percentile is not None:
        if not 0 <= percentile <= 100:
            raise InputError(f"--percentile must be 0 to 100, not {percentile:g}.")
        found = find_percentile(Store(store), run, percentile, method)
    elif precision is not None:
        if not 0 < precision <= 1:
            raise InputError(f"--precision must be above 0 and at most 1, not {precision:g}.")
        found = find_precision(Store(store), run, precision, method)
    print_unwrapped(f"{found.meaning[0].upper()}{found.meaning[1:]}.")
    print_unwrapped(f"Use it: wca classify ... --threshold {found.value:g}")
