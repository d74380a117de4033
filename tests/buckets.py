"""A server that speaks S3 on loopback, in this process: a real client against a real protocol."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from urllib.request import urlopen

import fsspec
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"
# What differs between runs of the same kind: digests, numbers of entries, names of leases.
_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12,}|(?<=explanation-)\d+")


class Request(NamedTuple):
    """A request to a bucket: HEAD, GET, LIST, PUT or DELETE, and the path or prefix it names."""

    kind: str
    path: str


class S3Server:
    """A server with an empty bucket: what leads to it, and the requests that it was sent.

    delay_sec: it waits so long before each answer, as a distant one does, several at once.
    """

    def __init__(self, environment: dict[str, str], delay_sec: float = 0.0) -> None:
        self.environment = environment
        self.requests: list[Request] = []
        self._delay_sec = delay_sec

    @contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """A list of the requests of the block, which is filled when that ends."""
        before, made = len(self.requests), list[Request]()
        yield made
        made += self.requests[before:]

    def watch(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """A WSGI application that notes the requests to another one and lets them wait."""

        def answer(environ: dict[str, Any], start: object) -> Iterable[bytes]:
            if environ["PATH_INFO"].startswith(f"/{BUCKET}"):
                self.requests.append(_describe(environ))
                time.sleep(self._delay_sec)
            return app(environ, start)

        return answer


def _describe(environ: dict[str, Any]) -> Request:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    if method == "GET" and "list-type" in query:
        return Request("LIST", "/".join([path.rstrip("/"), *query.get("prefix", [])]))
    if method == "POST":  # the parts of a large object, and the deletion of several
        method = "DELETE" if "delete" in query else "PUT"
    return Request(method, path)


def count_kinds(requests: Iterable[Request]) -> str:
    """How many requests there were of each kind, as text."""
    kinds = Counter(request.kind for request in requests)
    return ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())


def count_paths(requests: Iterable[Request]) -> Counter[str]:
    """How many requests of each kind named paths that differ in digests and numbers only."""
    return Counter(f"{kind} {_NAME.sub('*', path)}" for kind, path in requests)


@contextmanager
def s3_server(delay_sec: float = 0.0) -> Iterator[S3Server]:
    """An empty bucket; the environment leads to it while the block runs."""
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
            found = S3Server(environment, delay_sec)
            assert server._server is not None
            server._server.app = found.watch(server._server.app)  # type: ignore[attr-defined]
            yield found
    finally:
        kind.clear_instance_cache()
        server.stop()
