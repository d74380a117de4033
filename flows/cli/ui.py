"""`wca ui`: the flows in Prefect's UI."""

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.store.place import resolve_folder


def ui(*, port: int = 4200, store: StoreOption = DEFAULT_STORE) -> None:
    """Start Prefect's server, a worker and the deployments of prefect.yaml, until Ctrl-C.

    Example: wca ui

    Example: wca ui --port 4300 --store /data/store

    Parameters
    ----------
    port
        Port of the UI: http://127.0.0.1:PORT.

    """
    from flows.server.ui import serve

    serve(port, resolve_folder(store), print_unwrapped)
