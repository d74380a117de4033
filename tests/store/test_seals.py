"""Flipped bits in records, lines, pages and pictures; what repair does about them."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tasks.store.damage import find_damaged_files, repair
from tasks.store.published.publish import publish
from tasks.store.records import RunManifest, StageTiming
from tasks.store.runs import record_run
from tasks.store.seals import (
    DamagedRecord,
    find_page_damage,
    find_picture_damage,
    is_line_whole,
    seal,
    seal_line,
    seal_page,
    unseal,
)
from tasks.store.tables import Store

LINE = b'{"key":"%032x-0","number":0,"reply":{"answers":{"0":"It is round."}}}\n'
TIMING = StageTiming(stage="embed images", duration_sec=1.5, table_count=3, reused_count=0)
PAGE = "<html>\n<p>A page.</p>\n</html>\n"


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 9).save(buffer, "PNG")
    return buffer.getvalue()


def find_record_damage(data: bytes) -> str | None:
    try:
        unseal(StageTiming, data)
    except DamagedRecord as damage:
        return str(damage)
    return None


@pytest.mark.parametrize(
    ("whole", "is_damaged"),
    [
        (seal(TIMING).encode(), find_record_damage),
        (seal_line(LINE % 7), lambda data: not is_line_whole(data)),
        (seal_page(PAGE).encode(), find_page_damage),
        (seal_page(PAGE, "a" * 64).encode(), find_page_damage),
        (picture(), find_picture_damage),
    ],
)
def test_each_flipped_bit_and_each_cut_end_is_found(
    whole: bytes, is_damaged: Callable[[bytes], object]
) -> None:
    assert not is_damaged(whole)
    rng = random.Random(0)
    for at in range(len(whole) - 1):  # the last byte of a page is a line break
        flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        assert is_damaged(flipped), at
        is_earlier = whole[:at].rstrip().endswith(b"</html>")  # a whole page, without its seal
        assert is_damaged(whole[:at]) or is_earlier, at


def test_what_earlier_versions_wrote_is_whole() -> None:
    assert find_record_damage(TIMING.model_dump_json().encode()) is None
    assert is_line_whole(LINE % 7)
    assert find_page_damage(PAGE.encode()) is None
    assert find_page_damage(f"{PAGE}<!-- {'a' * 64} -->\n".encode()) is None


def test_repair_sets_altered_replies_aside_and_removes_altered_pages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = RunManifest(flow_name="benchmark", dataset_name="some", parameters={}, tables=())
    run_id = record_run(store, manifest, "flow", [])
    publish(store)
    page, replies = tmp_path / "runs" / run_id / "report.html", tmp_path / "replies" / "a.jsonl"
    replies.parent.mkdir()
    page.write_text(seal_page(PAGE).replace("page", "pace"))
    lines = [seal_line(LINE % i) for i in range(3)]
    altered = lines[1].replace(b"round", b"blue!")
    half = lines[2][:-9]  # of a writer that was killed
    replies.write_bytes(lines[0] + altered + half)
    found = {place.name: reason for place, reason in find_damaged_files(store)}
    assert found == {
        "report.html": "was altered after it was written",
        "a.jsonl": "has 1 altered line",
    }
    repaired = repair(store)
    assert repaired.files == (page,)
    assert repaired.advice[0].startswith(f"Pages or pictures of run {run_id[:12]} were removed")
    assert replies.read_bytes() == lines[0]
    assert (replies.parent / "a.jsonl.altered").read_bytes() == altered
    assert list(find_damaged_files(store)) == []
    replies.write_bytes(lines[0] + lines[0] + lines[2])
    publish(store)
    replies.write_bytes(lines[0] + lines[2])  # packed, without the one that was there twice
    assert list(find_damaged_files(store)) == []
    for lost in (lines[0], lines[0] + half):
        replies.write_bytes(lost)
        ((place, reason),) = find_damaged_files(store)
        assert place == replies.parent
        assert reason.startswith("has lost 1 of 2 replies of language models: copy the folder back")
    (advice,) = repair(store).advice
    assert advice == "A command that needs the lost replies asks for them again, at their price."
    assert replies.read_bytes() == lines[0] + half
    assert list(find_damaged_files(store)) == []
