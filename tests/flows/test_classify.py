"""`wca classify` on a folder of odd files: every file accounted for, unknown images, a review."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pillow_heif
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from tasks.methods.registry import METHODS
from tasks.report.threshold import find_percentile, find_precision
from tasks.runtime.errors import InputError
from tasks.score.calibration import Logits, log_odds
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store
from tests.conftest import photograph

Ask = Callable[..., str]
REASONS = {
    "drawing.svg": "SVG",
    "film.mp4": "video",
    "film.MKV": "video",
    "page.jpg": "web page",
    "paper.pdf": "PDF",
    "notes": "not an image of a supported format",
    "empty.png": "empty",
    "cut.heic": "damaged",
    "gone.jpg": "cannot be read",
}
HIDDEN = (".DS_Store", ".git/config", ".more/cat.jpg")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, one of them without an ending, nine files that are none, and hidden ones."""
    root = tmp_path_factory.mktemp("odd") / "my photos"
    for name in ("old", ".git", ".more"):
        (root / name).mkdir(parents=True)
    pillow_heif.register_heif_opener()  # so that Pillow writes HEIC
    cat, cup = photograph().resize((90, 60)), photograph("coffee.png").resize((80, 60))
    for name, image, form in (
        ("cat.HEIC", cat, "HEIF"),
        ("cat.jpg", cat, "JPEG"),
        ("old/same cat.jpg", cat, "JPEG"),
        ("without an ending", cup, "PNG"),
        ("old/cup.webp", cup, "WEBP"),
        ("old/rocket.avif", photograph("rocket.jpg").resize((60, 70)), "AVIF"),
    ):
        image.save(root / name, form)
    for name, data in (
        ("drawing.svg", b'<?xml version="1.0"?>\n<svg width="9"/>'),
        ("film.mp4", b"\0\0\0\x18ftypisom\0\0\2\0"),
        ("film.MKV", b"\x1aE\xdf\xa3\1\0\0\0"),
        ("page.jpg", b"<!DOCTYPE html><p>Not found"),
        ("paper.pdf", b"%PDF-1.7\n"),
        ("notes", b"no image"),
        ("empty.png", b""),
        ("cut.heic", (root / "cat.HEIC").read_bytes()[:900]),
        *((name, b"hidden") for name in HIDDEN),
    ):
        (root / name).write_bytes(data)
    (root / "gone.jpg").symlink_to("nowhere")
    return root


@pytest.fixture(scope="module")
def common(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    store = tmp_path_factory.mktemp("store") / "store"
    encoder = ("--encoder", f"local-dir:{tiny_model}", "--precision", "fp32", "--pool", "4")
    return (*encoder, "--store", str(store))


def test_every_file_is_in_the_output_or_rejected(
    here: Ask, odd: Path, common: tuple[str, ...], tmp_path: Path
) -> None:
    ask = ("classify", str(odd), "--classes", "cat,cup,dog", *common)
    printed = here(*ask, "--output", str(tmp_path / "all.csv"))
    assert "15 images, 3 classes" in printed
    assert "9 images rejected" in printed
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = {str(path) for path in odd.rglob("*") if not path.is_dir()}
    hidden = {str(odd / name) for name in HIDDEN}
    assert {row["image_name"] for row in rows} == files - hidden
    assert len(rows) == len(files) - len(HIDDEN) == 15
    found = {row["image_name"].removeprefix(f"{odd}/"): row for row in rows}
    reasons = {name: row["reason"] for name, row in found.items() if row["reason"]}
    assert reasons.keys() == REASONS.keys()
    for name, words in REASONS.items():
        assert words in reasons[name]
        assert not found[name]["prediction"]
    for name in found.keys() - reasons.keys():
        row = found[name]
        assert row["prediction"] in ("cat", "cup", "dog")
        assert row["prediction"] == row["predicted_class_name"] != row["runner_up_class_name"]
        assert 1 / 3 < float(row["probability"]) <= 1
        assert float(row["margin"]) >= 0
        assert row["crop_count"] == "0"  # CLIP looks at the whole image
    assert found["cat.jpg"]["score"] == found["old/same cat.jpg"]["score"]
    # the terminal lists the smallest margin first
    margins = sorted(float(row["margin"]) for row in rows if row["margin"])
    assert printed.index(f"{margins[0]:.4f}") < printed.index(f"{margins[-1]:.4f}")

    for name in ("all.parquet", "all.jsonl"):
        assert here(*ask, "--quiet", "--output", str(tmp_path / name)) == ""
    lines = here(*ask, "--output", "-").splitlines()
    assert [json.loads(line) for line in lines] == pq.read_table(
        tmp_path / "all.parquet"
    ).to_pylist()
    assert lines == (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["image_name"] for line in lines] == [row["image_name"] for row in rows]
    for wrong, said in (("all.xls", "ends in .csv"), ("no/all.csv", "there is no folder")):
        assert said in here(*ask, "--output", str(tmp_path / wrong), status=2)


def test_an_image_below_the_threshold_is_unknown_and_nothing_is_embedded_again(
    here: Ask, odd: Path, common: tuple[str, ...]
) -> None:
    ask = ("classify", str(odd), "--classes", "cat,cup,dog", *common)
    here(*ask)
    printed = here("threshold", "--percentile", "40", *common[-2:])
    assert "40 % of 6 images score less with CLIP." in printed
    threshold = printed.split("--threshold ")[1].strip()
    rows = [
        json.loads(line)
        for line in here(*ask, "--threshold", threshold, "--output", "-").splitlines()
    ]
    for row in rows:
        if row["reason"] is None:
            is_unknown = row["score"] < float(threshold)
            assert row["prediction"] == ("unknown" if is_unknown else row["predicted_class_name"])
    assert 0 < sum(row["prediction"] == "unknown" for row in rows) < 6
    printed = here(*ask, "--threshold", threshold)
    listed = [line for line in printed.splitlines() if re.search(r"│ +-?\d\.\d{4} │", line)]
    are_unknown = ["unknown" in line for line in listed]
    assert are_unknown == sorted(are_unknown, reverse=True)
    assert len(set(are_unknown)) == 2
    assert "1 of 1 Cached" in next(x for x in printed.splitlines() if "embed images" in x)
    query = "SELECT count(*) AS n FROM runs"
    assert json.loads(here("sql", query, "--format", "json", *common[-2:])) == {"n": 2}
    said = here("classify", str(odd), "--classes", "cat,unknown", "--threshold", "0.1", status=2)
    assert "the class 'unknown' needs another name" in said


@pytest.fixture(scope="module")
def labelled(
    prefect_server: None, photos: Path, common: tuple[str, ...]
) -> tuple[Store, tuple[str, ...]]:
    """The store of a benchmark whose photographs have labels."""
    from flows.cli.app import run

    assert run(["benchmark", f"folder:{photos}", "--runs", "2", *common]) == 0
    return Store(common[-1]), common


def test_thresholds_and_risk_are_those_of_the_predictions(
    labelled: tuple[Store, tuple[str, ...]],
) -> None:
    store, _ = labelled
    with open_snapshot(snapshot_path(store)) as connection:
        query = """SELECT score, is_correct, probability, p.scores
            FROM best_predictions AS b
            JOIN (SELECT run_id, method, image_digest, run_index,
                         list(score ORDER BY rank) AS scores
                  FROM predictions GROUP BY ALL) AS p
            USING (run_id, method, image_digest, run_index)
            JOIN runs USING (run_id)
            WHERE flow_name = 'benchmark' AND method = 'clip' AND run_index = 0
            ORDER BY score DESC"""
        rows = connection.execute(query).fetchall()
        areas = "SELECT avg(risk) FROM risk_coverage WHERE method = 'clip'"
        ((area,),) = connection.execute(areas).fetchall()
    scores, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    padded = np.array([[*row[3], *[-np.inf] * (5 - len(row[3]))] for row in rows])
    expected = expit(log_odds(padded, Logits(1 / 0.07)))
    assert [row[2] for row in rows] == pytest.approx(expected.tolist(), rel=1e-3)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    assert area == pytest.approx(1 - precision.mean())
    wanted = float(precision[: len(right) // 2].max()) - 1e-6
    last = np.flatnonzero(precision >= wanted)[-1]
    found = find_precision(store, "last", wanted, "clip")
    assert scores[last] - 1e-5 <= found.value <= scores[last]
    assert f"{last + 1} image" in found.meaning
    quarter = find_percentile(store, "last", 25, "clip")
    assert quarter.value == pytest.approx(np.percentile(scores, 25), abs=1e-5)
    with pytest.raises(InputError, match="has not scored wca: choose from clip, "):
        find_percentile(store, "last", 25, "wca")
    # no probability is made of votes and sums
    views = (Path(__file__).parents[2] / "tasks" / "store" / "published" / "views.sql").read_text()
    votes = ", ".join(f"'{m.name}'" for m in METHODS.values() if not m.is_cosine)
    assert f"p.method IN ({votes})" in views


def test_labels_come_back_from_a_review(
    here: Ask, labelled: tuple[Store, tuple[str, ...]], photos: Path, tmp_path: Path
) -> None:
    _, common = labelled
    export = ("export", "--method", "clip", *common[-2:], "--output")
    assert "12 predictions" in here(*export, str(tmp_path / "review.csv"), "--to", "csv")
    text = (tmp_path / "review.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    # somebody corrects the labels, as the folders know them
    for row in rows:
        row["label"] = Path(row["path"]).parent.name.replace("_", " ")
    with (tmp_path / "review.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    again = ("benchmark", "--methods", "clip", *common)
    assert "12 images, 2 classes" in here(*again, f"csv:{tmp_path / 'review.csv'}")

    here(*export, str(tmp_path / "fo"), "--to", "fiftyone")
    paths = json.loads((tmp_path / "fo" / "data.json").read_text())
    labels = json.loads((tmp_path / "fo" / "labels.json").read_text())
    assert labels["classes"] == ["big cat", "drink"]
    assert labels["labels"].keys() == paths.keys()
    predicted = {row["path"]: row for row in csv.DictReader(io.StringIO(text))}
    for key, target in labels["labels"].items():
        row = predicted[paths[key]]
        assert labels["classes"][target["label"]] == row["label"]
        assert target["confidence"] == pytest.approx(float(row["probability"]))

    printed = here(*export, str(tmp_path / "ls"), "--to", "label-studio")
    root = photos.parent
    assert f"DOCUMENT_ROOT={root}," in printed
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text())
    assert '<Choice value="big cat"/>' in (tmp_path / "ls" / "interface.xml").read_text()
    exported = tmp_path / "label studio.csv"  # as its export CSV-MIN
    with exported.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "id", "choice"])
        for i, task in enumerate(tasks):
            (choice,) = task["predictions"][0]["result"][0]["value"]["choices"]
            writer.writerow([task["data"]["image"], i, choice])
    image = f"'{root}/' || url_decode(split_part(image, '?d=', 2))"
    query = f"FROM '{exported}' SELECT {image} AS path, choice AS label"
    back = dict(duckdb.sql(query).fetchall())
    assert back == {path: row["label"] for path, row in predicted.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("benchmark", "sixteen-photograph"), "did you mean sixteen-photographs?"),
        (("classify", "x.jpg", "--classes", "a,b", "--store", "a file"), "'a file' is no folder"),
        (("threshold",), "Give either --percentile 5"),
        (("threshold", "--precision", "2"), "--precision must be above 0"),
    ],
)
def test_small_faults_are_one_sentence(
    here: Ask,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    assert message.replace("'", "") in here(*arguments, status=2).replace("'", "")


def test_the_version_is_the_packages(here: Ask) -> None:
    from importlib.metadata import version

    assert here("--version").strip() == version("wca-flows")
