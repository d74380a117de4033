"""Commands of `wca` about runs that are there."""

from flows.cli.options import StoreOption
from flows.server.temporary import prefect_server
from flows.settings.store import DEFAULT_STORE


def compare(
    first: str, second: str, *, method: str | None = None, store: StoreOption = DEFAULT_STORE
) -> None:
    """Say what differs between two runs: settings, accuracy, classes, images that flipped.

    Example: wca compare 4c94d682 fda1f758

    Example: wca compare 4c94d682 fda1f758 --method cupl

    Parameters
    ----------
    first
        A run, or the beginning of its name, or `last`; wca sql "SELECT run_id, command FROM runs"
        lists them.
    second
        The run to compare it with.
    method
        The method whose classes and images are compared; by default WCA where both have it.

    """
    from flows.cli import compare_runs as runs
    from flows.cli import show_compare as show

    show.compared(runs.compare_runs(store, first, second, method))


def report(run: str = "last", *, store: StoreOption = DEFAULT_STORE) -> None:
    """Write the page of a run again from its tables.

    Example: wca report

    Example: wca report 4c94d682

    Parameters
    ----------
    run
        A run, or the beginning of its name; by default the last one.

    """
    with prefect_server("report", encodes=False):
        from flows import report as flow
        from flows.settings.report import ReportConfig

        summary = flow.report(ReportConfig(run=run, store=store))
    from flows.cli import show_compare as show

    show.report(summary)
