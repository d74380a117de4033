"""The command of `wca` that shows the flows in Prefect's UI."""

from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.store.place import resolve_place


def ui(*, port: int = 4200, store: StoreOption = DEFAULT_STORE) -> None:
    """Start Prefect's server, a worker and the deployments of prefect.yaml, until Ctrl-C.

    Example: wca ui

    Example: wca ui --port 4300 --store /data/store

    Parameters
    ----------
    port
        Where the UI is to be seen: http://127.0.0.1:PORT.

    """
    from rich.console import Console

    from flows.server.ui import serve

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    serve(port, resolve_place(store), console.print)
