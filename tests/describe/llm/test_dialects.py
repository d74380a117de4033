"""Servers that take less than OpenAI's, and the many ways in which they say so."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.describe.llm.failures import read_error_text
from tasks.runtime.errors import PermanentFailure
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import CLASSES, KEY, DescribeStage

# How servers refuse a schema: status and body.
SHAPES: dict[str, tuple[int, Any]] = {
    "openai": (400, {"error": {"message": "Unknown parameter: response_format."}}),
    "lm-studio": (400, {"error": "'response_format.type' must be 'json_object'"}),
    "fastapi": (422, {"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs."}]}),
    "mistral": (422, {"object": "error", "message": {"detail": [{"msg": "Extra inputs."}]}}),
    "gemini": (400, [{"error": {"code": 400, "message": "Invalid JSON payload received."}}]),
    "param": (400, {"error": {"param": "response_format", "code": "unsupported_parameter"}}),
    "space": (400, {"message": "This response format `json_schema` is unavailable now"}),
    "vllm": (500, {"object": "error", "message": "guided decoding backend failed"}),
    "text": (400, "Bad request"),
    "empty": (422, ""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_refused_schema_is_left_out(
    server: ModelServer, tmp_path: Path, expected: pa.Table, shape: str
) -> None:
    server.behaviour.refusals = {"response_format": SHAPES[shape]}
    stage = DescribeStage(server, tmp_path, concurrency=1)
    stage.ask(CLASSES[:1])
    assert stage.table(CLASSES[:1]) == expected.slice(0, 50)
    has_schema = ["response_format" in request.body for request in server.requests]
    assert has_schema == [True, *[False] * 5]  # it is remembered


def test_everything_that_can_be_left_out_or_renamed_is(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.refusals = {
        "max_tokens": (400, {"error": {"message": "Use 'max_completion_tokens' instead."}}),
        "temperature": (400, {"error": {"message": "'temperature' does not support 1.0"}}),
        "system": (500, {"error": {"message": "System role not supported"}}),
        "response_format": (400, {"detail": "no"}),
    }
    stage = DescribeStage(server, tmp_path, max_tokens=300, concurrency=1)
    assert stage.ask(["cat"]).answer_count == 50
    assert len(server.requests) == 5 + 4
    body = server.requests[-1].body
    assert set(body) == {"model", "messages", "max_completion_tokens"}
    (message,) = body["messages"]
    assert message["content"].startswith(stage.plan(["cat"]).question_sets[0].instruction)


def test_a_temperature_that_decides_answers_is_not_left_out(
    server: ModelServer, tmp_path: Path
) -> None:
    words = "Only the default 'temperature' is supported"
    server.behaviour.refusals = {"temperature": (400, {"error": {"message": words}})}
    tally = DescribeStage(server, tmp_path, temperature=0.5).ask(["cat"])
    assert (tally.answer_count, tally.missing_count) == (0, 50)
    assert words in tally.refusal
    assert DescribeStage(server, tmp_path, temperature="none").ask(["cat"]).answer_count == 50
    assert "temperature" not in server.requests[-1].body


def test_a_redirect_to_itself_ends(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("redirect",), 1000
    with pytest.raises(PermanentFailure, match="redirects calls without end: set OPENAI_BASE_URL"):
        DescribeStage(server, tmp_path, concurrency=1).ask(["cat"])
    assert len(server.requests) < 10


@pytest.mark.parametrize(
    ("fault", "words"), [("429", "429: Try again"), ("error-in-200", "Provider is overloaded")]
)
def test_what_a_busy_server_says_is_shown(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    monkeypatch.setattr("tasks.describe.llm.ask.TRANSPORT_RETRIES", 1)  # the wait is not the point
    server.behaviour.faults, server.behaviour.faults_per_question = (fault,), 1000
    with pytest.raises(PermanentFailure, match=f"No call succeeds .*{words}"):
        DescribeStage(server, tmp_path).ask()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"error": {"message": "No.", "code": 1}}', "No."),
        ('{"error": "No."}', "No."),
        ('{"detail": [{"loc": ["body", "x"], "msg": "No."}]}', "body.x: No."),
        ('[{"error": {"message": "No."}}]', "No."),
        ('{"error": {"param": "x"}}', "x"),
        ("<html><b>Bad</b> gateway</html>", "Bad gateway"),
        ('{"other": 1}', '{"other": 1}'),
        ("{}", ""),
        ("[" * 100_000, "[" * 100_000),
        ('{"error": ' * 500 + "1" + "}" * 500, None),
    ],
)
def test_the_words_of_an_error_are_found(text: str, words: str | None) -> None:
    found = read_error_text(text)
    assert words is None or found == words


def test_no_part_of_the_key_is_kept(server: ModelServer, tmp_path: Path) -> None:
    message = {"content": '{"answer_1": "It is red."}'}
    choice = {"message": message, "finish_reason": "x" * 195 + KEY}
    server.behaviour.replaced = {"model": "x" * 190 + KEY, "choices": [choice]}
    server.behaviour.headers = {"x-request-id": "x" * 185 + KEY}
    DescribeStage(server, tmp_path).ask(["cat"])
    text = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert "It is red." in text
    assert not any(KEY[i : i + 4] in text for i in range(3, len(KEY) - 3))
