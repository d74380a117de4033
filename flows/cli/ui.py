"""`wca ui`: the flows in Prefect's UI."""

import os

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.store.place import resolve_folder


def ui(*, port: int = 4200, store: StoreOption = DEFAULT_STORE, alerts: str | None = None) -> None:
    """Start Prefect's server, a worker and the deployments of prefect.yaml, until Ctrl-C.

    Example: wca ui

    Example: wca ui --port 4300 --store /data/store

    Parameters
    ----------
    port
        Port of the UI: http://127.0.0.1:PORT.
    alerts
        Where sentences about failures go besides this command's output: the URL of a webhook, or a
        notification block of Prefect as slack-webhook/NAME. By default WCA_ALERTS.

    """
    from flows.server.ui import serve

    # the URL of a webhook is a secret, which the help would print as a default
    alerts = alerts or os.environ.get("WCA_ALERTS")
    serve(port, resolve_folder(store), print_unwrapped, alerts)
