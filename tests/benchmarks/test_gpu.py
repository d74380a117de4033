"""The benchmark for GPUs, with small sizes on the CPU: it measures and checks every part."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_parts.bench import Bench


def test_every_part_measures_and_every_check_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # a lock of a GPU of its own
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output, threads = tmp_path / "gpu.json", torch.get_num_threads()
    try:
        status = gpu.main(["--device", "cpu", "--small", "--output", str(output)])
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert status == 0, printed
    report = json.loads(output.read_text())
    assert list(report["parts"]) == list(gpu.PARTS)
    assert report["failed"] == []
    rows = {name: part["rows"] for name, part in report["parts"].items()}
    assert [(row["encoder"], row["format"]) for row in rows["encoders"]] == [
        (encoder, precision)
        for encoder in ("ViT-B-32", "ViT-B-16", "ViT-L-14")
        for precision in ("fp32", "fp16", "bf16")
    ]
    assert all(0 < row["maximum"] < 1e-2 for row in rows["encoders"][1:3])
    *_, whole, fewer = rows["pipeline"]
    assert (whole["crops an image"], whole["images"]) == (8, fewer["images"])
    assert fewer["crops an image"] == pytest.approx(15, abs=1)  # what was asked for
    assert (rows["processes"][0]["turns"], rows["processes"][0]["at once"]) == (6, "never")
    for row in rows["encoders"]:
        assert f"| {row['encoder']} | {row['format']} | {row['batch']} |" in printed


def test_a_part_that_fails_or_takes_too_long_ends_alone(tmp_path: Path) -> None:
    bench = Bench("cpu", gpu.SMALL, {8: 1.0}, None, tmp_path)

    def take_too_long(bench: Bench) -> None:
        bench.rows.append({"what": "measured before"})
        while True:
            pass

    def fail(bench: Bench) -> None:
        raise ValueError("no such card")

    gpu.run_part(bench, take_too_long, 0.1)
    gpu.run_part(bench, fail, 10)
    first, second, _ = bench.rows
    assert first == {"what": "measured before"}
    assert "is not measured" in str(second["what"])
    assert bench.failed == ["fail: ValueError: no such card"]
    assert gpu.markdown_table([{"a": 1, "b": 0.000123}, {"c": 12345.6}]).splitlines()[2:] == [
        "| 1 | 1.2e-04 |  |",
        "|  |  | 12,346 |",
    ]
