"""The command of `wca` that compares two runs."""

from flows.cli_tables import Store
from flows.config import DEFAULT_STORE


def compare(
    first: str, second: str, *, method: str | None = None, store: Store = DEFAULT_STORE
) -> None:
    """Say what differs between two runs: settings, accuracy, classes, images that flipped.

    Example: wca compare 4c94d682 fda1f758

    Example: wca compare 4c94d682 fda1f758 --method cupl

    Parameters
    ----------
    first
        A run, or the beginning of its name; wca sql "SELECT run_id, command FROM runs" lists them.
    second
        The run to compare it with.
    method
        The method whose classes and images are compared; by default WCA where both have it.

    """
    from flows import compare as runs
    from flows import show_compare as show

    show.compared(runs.compare_runs(store, first, second, method))
