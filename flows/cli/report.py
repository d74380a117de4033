"""`wca report`: the page of a run."""

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.server.temporary import prefect_server
from flows.settings.store import DEFAULT_STORE


def report(run: str = "last", *, store: StoreOption = DEFAULT_STORE) -> None:
    """Write the page of a run again from its tables.

    Example: wca report

    Example: wca report 4c94d682

    Parameters
    ----------
    run
        A run, or the beginning of its name; by default the last one.

    """
    from flows.settings.report import WITH_PAGE, ReportConfig
    from tasks.store.runs import find_run
    from tasks.store.tables import Store

    find_run(Store(store), run, WITH_PAGE)
    with prefect_server("report", encodes=False):
        from flows.report import report as flow

        summary = flow(ReportConfig(run=run, store=store))
    print_unwrapped(f"Report   {summary.report}")
