"""Names of files and classes are no markup in any artifact, since the UI renders HTML."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run

from flows.benchmark import benchmark
from flows.pipeline.artifacts import (
    escape_markdown,
    publish_answers,
    publish_inbox,
    publish_report,
    publish_run,
    publish_table,
)
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.schemas import schema
from tasks.store.tables import Store

# A file's name has no slash, which browsers do not need.
CALL = "<img src=http:\\\\127.0.0.1:9\\f> ![x](http:\\\\127.0.0.1:9) |a|_b_"
SHOWN = r"\<img src=http:\\\\127.0.0.1:9\\f\> !\[x\](http:\\\\127.0.0.1:9) \|a\|\_b\_"


def test_no_name_marks_up_an_artifact(
    small: dict[str, Any], photos: Path, tmp_path: Path, prefect_server: None
) -> None:
    folder = tmp_path / CALL
    shutil.copytree(photos, folder)
    (folder / "drink").rename(folder / CALL)
    (folder / CALL / f"{CALL}.jpg").write_bytes(b"no image")
    store = Store(tmp_path / "store")
    config = BenchmarkConfig(
        **small, data=f"folder:{folder}", methods=("clip", "clip_e"), store=store.root
    )
    summary = benchmark(config)
    facts = {"inbox_name": "in", "image_name": CALL, "class_name": CALL, "classified_at": CALL}
    rows: list[dict[str, object]] = [facts, {**facts, "class_name": None, "reason": CALL}]
    store.write_rows("inbox", "a" * 64, schema("inbox"), rows)
    answer = {"question": CALL, "llm": CALL, "class_name": CALL, "dropped_by": CALL}
    answers = store.write_rows("answers", "b" * 64, schema("answers"), [answer])

    @flow
    def publish() -> str:
        publish_run(summary)
        publish_table("table", CALL, [{"method": CALL, CALL: CALL}])
        publish_answers(store, answers, CALL)
        publish_report(CALL, CALL, tmp_path / "report.html")
        publish_inbox(store, "in", 1, 1, 0)
        return str(flow_run.get_id())

    chosen = ArtifactFilterFlowRunId(any_=[publish()])
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=chosen))
    kinds = {str(artifact.key).partition("-")[0] for artifact in found}
    expected = "accuracy comparison rejected report table descriptions inbox"
    assert kinds == set(expected.split())
    for artifact in found:
        texts = [artifact.description or "", str(artifact.data)]
        if artifact.type == "table":
            rows = json.loads(texts.pop())
            texts += [text for row in rows for pair in row.items() for text in pair]
        texts[-1] = texts[-1].removeprefix("[report.html]")  # Prefect's own markup
        for text in texts:
            assert not re.search(r"(?<!\\)[<>\[\]]", text), artifact.key
        assert SHOWN in texts[0] or artifact.key == "inbox-in"
    rejected = next(artifact for artifact in found if str(artifact.key).startswith("rejected"))
    assert SHOWN in json.loads(str(rejected.data))[-1]["file"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("WCA (printed sum), +1.25", "WCA (printed sum), +1.25"),
        ("big_cat/1.jpg", "big_cat/1.jpg"),
        ("_a_ b*c", r"\_a\_ b\*c"),
        ("# a\n# b", r"\# a # b"),
        ("- a, -1", r"\- a, -1"),
        (r"&lt;\<", r"\&lt;\\\<"),
        ("see http://127.0.0.1", r"see http\://127.0.0.1"),
        ("x" * 5000, "x" * 500 + "..."),
    ],
)
def test_a_text_is_one_line_of_what_can_be_read(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown
