"""What a command cannot use is one sentence and status 2, before a server starts."""

from pathlib import Path

import pytest

from flows.cli.app import run

PHOTOS = ("benchmark", "sixteen-photographs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("benchmark",), "data"),
        (("bench",), "bench"),
        (("benchmark", "nonsense"), "Unknown data set 'nonsense'"),
        (("benchmark", "folder:none"), "none is not a folder; expected"),
        (("benchmark", "folder:/no/such/place"), "is not a folder; expected"),
        (("benchmark", "folder:/no/:cat:/place"), "/no/:cat:/place is not a folder"),
        ((*PHOTOS, "--alpha", "3"), "alpha: Input should be less than"),
        ((*PHOTOS, "--alpha", "0.95"), "must not be greater than beta"),
        ((*PHOTOS, "--seed", str(2**63)), "--seed: Input should be less"),
        ((*PHOTOS, "--clean", "x"), "--clean: unknown rules ['x']"),
        ((*PHOTOS, "--methods", "clop"), "Unknown method 'clop': choose from"),
        ((*PHOTOS, "--encoder", "nope/none"), "Unknown encoder"),
        ((*PHOTOS, "--encoder", "ViT-B-32/none"), "has no weights"),
        ((*PHOTOS, "--encoder", "ViT-B-32:none"), "do not exist"),
        ((*PHOTOS, "--encoder", "local-dir:none"), "open_clip_config"),
        ((*PHOTOS, "--device", "gpu"), "--device"),
        ((*PHOTOS, "--precision", "fp7"), "--precision"),
        ((*PHOTOS, "--descriptions", "none.json"), "none.json"),
        ((*PHOTOS, "--descriptions", "broken.json"), "broken.json"),
        ((*PHOTOS, "--descriptions", "few.json"), "few.json"),
        (("demo", "--encoder", "x"), "--encoder"),
        (("sweep", "sixteen-photographs", "--over", "size=x"), "size"),
        (
            ("reproduce", "table1", "--encoder", "photo-lite"),
            "wca: --encoder belongs to one benchmark, and this runs many. See `wca --help`.",
        ),
        (("reproduce", "table9"), "table9"),
        (("reproduce", "table1", "--encoders", "nope/none"), "Unknown encoder"),
        (("reproduce", "table1", "--datasets", "none"), "none"),
        (("classify", "a\udcff.jpg", "--classes", "a,b"), "'a\\udcff.jpg' is not a name in UTF-8"),
        (("classify", "--classes", "a,b"), "Name at least one image"),
        (("classify", "x.jpg", "--classes", "a"), "Name at least two classes"),
        (("classify", "x.jpg", "--classes", "no.txt"), "There is no file no.txt"),
        (("classify", "none.jpg", "--classes", "a,b"), "No such file: none.jpg"),
        (("classify", "/no/such.jpg", "--classes", "a,b"), "No such file: /no/such.jpg"),
        (("describe", "no.txt"), "There is no file no.txt"),
        (("describe", "csv:no.csv"), "Cannot read no.csv"),
        (("describe", "cat,dog", "--questions", "broken.json"), "broken.json"),
        (("sql", "SELECT 1", "--store", "none"), "no results in"),
        (("report", "--store", "none"), "no results in"),
    ],
)
def test_bad_input_is_found_before_a_server_starts(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    (tmp_path / "broken.json").write_text('{"cat": [')
    (tmp_path / "few.json").write_text('{"emu": ["Tall."]}')
    assert run(list(arguments)) == 2
    errors = capfd.readouterr().err
    (sentence,) = (line for line in errors.splitlines() if line.startswith("wca: "))
    assert message in sentence
    assert "pydantic" not in errors
    assert "Starting" not in errors
    assert not (tmp_path / "prefect").exists()  # where a server keeps its records
