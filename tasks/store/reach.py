"""Whether the worker of an engine sees the store of the command that it works for."""

import socket

from tasks.runtime.errors import InputError, one_line
from tasks.store.place import modification_time
from tasks.store.tables import Store, TableRef


def open_on_worker(store_root: str, known: TableRef) -> Store:
    """The store of a command, on a worker; known: a table that the command has in it.

    Raises InputError with one sentence where this machine does not reach it: a folder that is not
    mounted would be created, and the tables written to it lost.
    """
    host = socket.gethostname()
    try:
        store = Store(store_root)
        modification_time(store.path(known))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"The worker on {host} does not see the store {store_root}: mount it there under the "
            "same path, or name a bucket with --store."
        ) from error
    except (InputError, PermissionError) as error:
        raise InputError(
            f"The worker on {host} cannot use the store {store_root}: {one_line(error)}"
        ) from error
    return store
