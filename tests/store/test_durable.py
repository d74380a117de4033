"""What a power cut leaves: bytes reach the disk before a name, a name before the next step."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

# Writes one file of every kind, and records each fsync and rename as the process makes it.
RECORD = """
import hashlib, json, os, sys
from pathlib import Path
root, events, sync = Path(sys.argv[1]), [], os.fsync

def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

def fsync(descriptor):
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    path = Path(os.readlink(f"/proc/self/fd/{number}"))
    events.append(("fsync", str(path), digest(path)))
    sync(descriptor)

def note(event, arguments):
    path = Path(arguments[0]) if event in ("os.rename", "os.mkdir") else root
    is_new = event == "os.mkdir" and path.parent.exists() and not path.exists()
    if root in path.parents and (is_new or event == "os.rename"):
        events.append((event, str(path), digest(path), str(arguments[1])))

os.fsync = fsync
sys.addaudithook(note)

from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.describe.llm.questions import Prompt
from tasks.store.place import write_text
from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.schemas import schema
from tasks.store.published.publish import publish
from tasks.store.tables import Store

store = Store(root / "new" / "store")
rows = [{"class_id": 0, "class_name": "cat"}]
table = store.write_rows("classes", "a" * 64, schema("classes"), rows)
facts = {name: "x" for name in ("answered_by", "request_id", "finish_reason", "asked_at")}
reply = Reply(**facts, received_at="x", prompt_digest="d" * 64, answers={0: "A cat."},
              prompt_tokens=1, completion_tokens=1, cost_usd=None)
Replies(store).add((Call(None, "d" * 64, 0, (0,)), reply))
manifest = RunManifest(flow_name="f", dataset_name="d", parameters={}, tables=(table,))
run_id = record_run(store, manifest, "flow", [])
write_text(store.root / "runs" / run_id / "report.html", "page")
publish(store)
print(json.dumps(events))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bytes_then_name_then_folder_are_written_to_the_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RECORD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [tuple(event) for event in json.loads(done.stdout)]
    renamed = [i for i, event in enumerate(events) if event[0] == "os.rename"]
    store = tmp_path / "new" / "store"
    kinds = {Path(events[i][3]).relative_to(store).parts[0] for i in renamed}
    assert kinds == {"classes", "runs", "published", "unpublished", "wca.duckdb"}
    (segment,) = (store / "replies").iterdir()  # to which lines are appended: its name comes first
    content = hashlib.sha256(segment.read_bytes()).hexdigest()
    place = events.index(("fsync", str(segment), content))
    assert ("fsync", str(segment.parent), None) in events[:place]
    targets = {Path(events[i][3]) for i in renamed}
    hidden = {path for path in store.rglob("*") if path.name.startswith(".")}
    locks = set(store.rglob("*.lock"))
    files = {path for path in store.rglob("*") if path.is_file()}
    assert targets >= files - hidden - locks - {segment}
    for i in renamed:
        _, source, content, target = events[i]
        before, after = events[i - 1], events[i + 1]
        assert before == ("fsync", source, content), target
        assert after == ("fsync", str(Path(target).parent), None), target
    made = [(i, event[1]) for i, event in enumerate(events) if event[0] == "os.mkdir"]
    assert {Path(folder) for _, folder in made} >= {store.parent, store, store / "replies"}
    for i, folder in made:
        following = events[i : min((j for j in renamed if j > i), default=None)]
        assert ("fsync", str(Path(folder).parent), None) in following, folder
