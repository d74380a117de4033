"""A server that speaks S3 on loopback, in this process: a real client against a real protocol."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import fsspec
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An empty bucket, and the environment that leads to it, which holds while the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "dummy-key",
        "AWS_SECRET_ACCESS_KEY": "dummy-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    kind = fsspec.get_filesystem_class("s3")
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            kind.clear_instance_cache()  # a client keeps to the endpoint that it has known
            # what servers of this process hold is one and the same
            urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
            fsspec.filesystem("s3").mkdir(BUCKET)
            yield environment
    finally:
        kind.clear_instance_cache()
        server.stop()
