"""A server on loopback with the chat-completions and batch formats, and with faults.

    python -m tests.describe.llm.server --delay 0.2

prints its address and serves until it is stopped. Its answers depend only on the question and the
key of the answer, so that the same answers arrive in the end, whatever faults occur.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.describe.llm.model import answer, read_question, style_answers

FAULTS = (
    *("429", "429-after", "500", "503", "slow", "cut", "cut-early", "not-json", "no-completion"),
    *("no-message", "error-in-200", "no-choice"),
    *("wrong-shape", "half", "duplicate", "empty", "length", "refusal"),
)


@dataclass
class Behaviour:
    """How the server behaves; tests change it between requests."""

    delay_sec: float = 0.0
    faults: tuple[str, ...] = ()
    faults_per_question: int = 2  # then it answers
    seed: int = 0
    style: str = "schema"
    key: str | None = None
    answers: dict[str, str] = field(default_factory=dict)  # by key, in place of the usual
    headers: dict[str, str] = field(default_factory=dict)
    quota: int | None = None  # calls until the account is empty
    batch_fails: int = 0  # calls of the next batch that end with status 500
    batch_polls: int = 1  # looks at a batch until it has ended
    batch_end: str = "completed"
    has_batches: bool = True
    batch_refusal: str | None = None  # why batches are refused
    upload_hangs: bool = False  # files are taken and never acknowledged
    drops_acknowledgement: bool = False  # the first batch is taken, the connection cut
    tokens_per_answer: int = 20
    refused: str | None = None  # questions with this in them are refused
    # by the name of a part of a request ("system" is the role): how that part is refused
    refusals: dict[str, tuple[int, Any]] = field(default_factory=dict)
    most_enqueued: int | None = None  # calls that a batch may have
    replaced: dict[str, Any] = field(default_factory=dict)  # parts of each completion


@dataclass
class Request:
    """One call as it came, and the fault that was chosen for it."""

    question: str
    keys: tuple[str, ...]
    fault: str | None
    body: dict[str, Any]


class ModelServer:
    """The server; runs in a thread of its own."""

    def __init__(self) -> None:
        self.address = ""
        self.behaviour = Behaviour()
        self.requests: list[Request] = []
        self.statuses: Counter[int] = Counter()
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.in_flight = self.most_in_flight = 0
        self.charged: list[tuple[int, int]] = []  # tokens sent and received of every completion
        self._attempts: Counter[str] = Counter()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve at `address` while the block runs."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def asked(self) -> Counter[tuple[str, str]]:
        """How often each answer was asked for: by question and key."""
        return Counter((r.question, key) for r in self.requests for key in r.keys)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                path = path.removeprefix("http://elsewhere.invalid")  # as a proxy is asked
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                data = await reader.readexactly(int(headers.get("content-length", 0)))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self._answer(writer, method, path, headers, data)
                finally:
                    self.in_flight -= 1
        writer.close()

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        headers: dict[str, str],
        data: bytes,
    ) -> None:
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if self.behaviour.key is not None and key != self.behaviour.key:
            # as some servers do, it repeats the key
            await self._send(writer, 401, _error(f"Incorrect API key provided: {key}."))
        elif path == "/v1/chat/completions":
            await self._complete(writer, json.loads(data))
        else:
            while self.behaviour.upload_hangs and path == "/v1/files":
                await asyncio.sleep(0.01)
            status, body = self._batch(method, path, data)
            if self.behaviour.drops_acknowledgement and (method, path) == ("POST", "/v1/batches"):
                self.behaviour.drops_acknowledgement = False
                writer.close()
                return
            await self._send(writer, status, body)

    async def _complete(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        behaviour = self.behaviour
        question, keys = read_question(body)
        fault = self._fault(question)
        self.requests.append(Request(question, keys, fault, body))
        await asyncio.sleep(behaviour.delay_sec)
        if behaviour.quota is not None:
            behaviour.quota -= 1
            if behaviour.quota < 0:
                await self._send(writer, 429, _error("You exceeded it.", "insufficient_quota"))
                return
        if behaviour.refused and behaviour.refused in question:
            await self._send(writer, 400, _error("Filtered.", "content_filter"))
            return
        if body["model"] == "unknown-model":
            await self._send(writer, 404, _error("The model `unknown-model` does not exist."))
            return
        if behaviour.style == "no-schema" and "response_format" in body:
            await self._send(writer, 400, _error("Unknown parameter: response_format."))
            return
        has = {*body, *(message["role"] for message in body["messages"])}
        if part := next((name for name in behaviour.refusals if name in has), None):
            await self._send(writer, *behaviour.refusals[part])
            return
        await self._reply(writer, question, keys, fault)

    async def _reply(
        self, writer: asyncio.StreamWriter, question: str, keys: tuple[str, ...], fault: str | None
    ) -> None:
        match fault:
            case "429" | "500" | "503":
                await self._send(writer, int(fault), _error("Try again."))
            case "429-after":
                await self._send(writer, 429, _error("Slowly."), {"Retry-After": "1"})
            case "cut-early":
                writer.close()
            case "redirect":
                path = {"Location": "/v1/chat/completions"}
                await self._send(writer, 307, _error("Elsewhere."), path)
            case "error-in-200":
                error = {"message": "Provider is overloaded.", "code": 503}
                await self._send(writer, 200, {"error": error})
            case "no-choice":
                await self._send(writer, 200, self.completion(question, keys) | {"choices": []})
            case "cut":
                text = json.dumps(self.completion(question, keys)).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(head.encode() + text[: len(text) // 2])
                await writer.drain()
                writer.close()
            case "packed":
                vast = gzip.compress(bytes(300_000_000), 1)  # 1.3 MB
                head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(vast)}"
                writer.write(head.encode() + b"\r\n\r\n" + vast)
                await writer.drain()
            case "trickle":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(100):
                    writer.write(b"1\r\n \r\n")
                    await writer.drain()
                    await asyncio.sleep(0.1)
                writer.close()
            case "not-json":
                await self._send(writer, 200, "<html>Bad gateway</html>")
            case "no-completion":
                await self._send(writer, 200, {"object": "nothing", "choices": None})
            case "no-message":
                await self._send(writer, 200, {"choices": [{"message": None}]})
            case _:
                if fault == "slow":
                    await asyncio.sleep(3)
                await self._send(writer, 200, self.completion(question, keys, fault))

    def _fault(self, question: str) -> str | None:
        attempt = self._attempts[question]
        self._attempts[question] += 1
        behaviour = self.behaviour
        if not behaviour.faults or attempt >= behaviour.faults_per_question:
            return None
        return random.Random(f"{behaviour.seed}/{question}/{attempt}").choice(behaviour.faults)

    def completion(
        self, question: str, keys: tuple[str, ...], fault: str | None = None
    ) -> dict[str, Any]:
        """The body of a reply."""
        tokens = len(question) // 4 + 50, self.behaviour.tokens_per_answer * len(keys)
        self.charged.append(tokens)
        answers = {key: self.behaviour.answers.get(key) or answer(question, key) for key in keys}
        match fault:
            case "half":
                answers = dict(list(answers.items())[::2])
            case "duplicate":
                answers = dict.fromkeys(answers, next(iter(answers.values())))
            case "empty":
                answers = {
                    key: "" if i % 3 == 0 else text for i, (key, text) in enumerate(answers.items())
                }
        content: Any = style_answers(answers, self.behaviour.style)
        finish = "stop"
        if fault == "wrong-shape":
            content = '{"answers": 3, "note": [1, 2]}'
        if fault == "length":
            content, finish = content[: len(content) * 2 // 3], "length"
        if self.behaviour.style == "parts":
            content = [{"type": "text", "text": part} for part in (content[:50], content[50:])]
        return {
            "id": "chatcmpl-" + hashlib.sha256(question.encode()).hexdigest()[:12],
            "object": "chat.completion",
            "created": 0,
            "model": "test-model-2026-01-01",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {
                        "role": "assistant",
                        "content": None if fault == "refusal" else content,
                        "refusal": "I can't help with that." if fault == "refusal" else None,
                    },
                }
            ],
            "usage": {
                "prompt_tokens": tokens[0],
                "completion_tokens": tokens[1],
                "total_tokens": 0,
            },
            **self.behaviour.replaced,
        }

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: Any,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.statuses[status] += 1
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if text.startswith("<") else "application/json"
        lines = [
            f"HTTP/1.1 {status} Whatever",
            f"Content-Type: {kind}",
            f"Content-Length: {len(text.encode())}",
            f"x-request-id: req-{sum(self.statuses.values())}",
            *(f"{k}: {v}" for k, v in {**self.behaviour.headers, **(headers or {})}.items()),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text.encode())
        await writer.drain()

    def _batch(self, method: str, path: str, data: bytes) -> tuple[int, Any]:
        """Files and batches."""
        match (method, path.removeprefix("/v1/").partition("?")[0].split("/")):
            case _ if not self.behaviour.has_batches:
                pass
            case "POST", ["files"]:
                name = f"file-{len(self.files)}"
                body = data.split(b"\r\n\r\n")
                self.files[name] = next(part for part in body if part.startswith(b"{")).decode()
                return 200, {
                    "id": name, "object": "file", "bytes": 0, "created_at": 0,
                    "filename": "calls.jsonl", "purpose": "batch", "status": "processed",
                }  # fmt: skip
            case "GET", ["files", name, "content"] if name in self.files:
                return 200, self.files[name]
            case "POST", ["batches"]:
                wanted = json.loads(data)
                name = f"batch-{len(self.batches)}"
                self.batches[name] = {
                    "id": name, "object": "batch", "endpoint": wanted["endpoint"], "created_at": 0,
                    "completion_window": "24h", "input_file_id": wanted["input_file_id"],
                    "metadata": wanted["metadata"], "status": "in_progress", "polls": 0,
                }  # fmt: skip
                return 200, self.batches[name]
            case "GET", ["batches"]:
                return 200, {
                    "object": "list",
                    "data": list(self.batches.values()),
                    "has_more": False,
                }
            case "GET", ["batches", name] if name in self.batches:
                batch = self.batches[name]
                batch["polls"] += 1
                most, calls = self.behaviour.most_enqueued, self.files[batch["input_file_id"]]
                if most is not None and calls.count('"custom_id"') > most:
                    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit."}
                    batch |= {"status": "failed", "errors": {"object": "list", "data": [full]}}
                elif reason := self.behaviour.batch_refusal:
                    errors = {"object": "list", "data": [{"message": reason}]}
                    batch |= {"status": "failed", "errors": errors}
                elif batch["polls"] > self.behaviour.batch_polls and "output_file_id" not in batch:
                    batch["status"] = self.behaviour.batch_end
                    batch["output_file_id"] = self._run_batch(batch)
                return 200, batch
        return 404, _error(f"No such path: {path}")

    def _run_batch(self, batch: dict[str, Any]) -> str:
        out = []
        fails, self.behaviour.batch_fails = self.behaviour.batch_fails, 0
        for i, line in enumerate(self.files[batch["input_file_id"]].splitlines()):
            if not line.startswith("{"):
                continue
            call = json.loads(line)
            question, keys = read_question(call["body"])
            failed = i < fails
            self.requests.append(Request(question, () if failed else keys, None, call["body"]))
            body = (
                _error("Lost.")
                if failed
                else self.completion(question, keys, self._fault(question))
            )
            response = {"status_code": 500 if failed else 200, "request_id": f"b{i}", "body": body}
            out.append({"id": str(i), "custom_id": call["custom_id"], "response": response})
        name = f"file-{len(self.files)}"
        is_raw = self.behaviour.style == "raw"
        self.files[name] = "\n".join(json.dumps(line, ensure_ascii=not is_raw) for line in out)
        return name


def _error(message: str, code: str = "some_code") -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds to each answer")
    server = ModelServer()
    server.behaviour.delay_sec = parser.parse_args().delay
    with server.running():
        print(server.address, flush=True)  # noqa: T201 - whoever started it reads the address
        threading.Event().wait()


if __name__ == "__main__":
    main()
