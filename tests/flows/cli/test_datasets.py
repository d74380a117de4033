"""The commands about data sets, as people run them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.trees import TREES
from tests.flows.conftest import Command


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ("cub", "cifar10"):
        TREES[name](root)
    return root


def test_datasets_lists_all_and_says_which_are_here(
    here: Callable[..., str], wca: Command, root: Path
) -> None:
    listed = wca("datasets", "--data-root", str(root))
    for name in TREES:
        assert name in listed
    lines = {line.split()[1]: line for line in listed.splitlines() if line.startswith("│")}
    first = {k: v for k, v in lines.items() if k in TREES}
    assert len(first) == len(TREES)
    rows = [line for line in listed.splitlines() if line.startswith("│ cub ")]
    assert "5,794" in rows[0]
    assert rows[0].rstrip(" │").endswith("yes")
    assert "CUB_200_2011/images.txt" in rows[1]
    shown = here("datasets", "pets", "--data-root", str(root))
    assert "CC BY-SA 4.0" in shown
    assert "oxford-iiit-pet/annotations/test.txt" in shown
    assert "CUB_200_2011/" in shown  # what was found instead


def test_the_data_root_can_come_from_the_environment(
    wca: Command,
    root: Path,
    tiny_model: Path,
) -> None:
    wca = wca.with_environment({"WCA_DATA_ROOT": str(root)})
    report = wca("doctor", "--store", str(wca.store))
    printed = wca(
        *("benchmark", "cifar10", "--limit", "2", "--methods", "clip", "--precision", "fp32"),
        *("--encoder", f"local-dir:{tiny_model}", "--store", str(wca.store)),
    )
    assert str(root / "CUB_200_2011") in report
    assert "wca datasets --download pets" in report
    assert "2 images, 10 classes" in printed


def test_the_error_on_a_missing_data_set_shows_both_trees(wca: Command, root: Path) -> None:
    error = wca("benchmark", "dtd", "--data-root", str(root), status=2)
    assert error.startswith("wca: Describable Textures (DTD), split 1 is missing")
    assert "dtd/dtd/labels/test1.txt" in error
    assert "cifar-10-batches-bin/" in error


def test_import_writes_where_benchmark_looks_and_reports_spellings(
    here: Callable[..., str],
    root: Path,
    tmp_path: Path,
) -> None:
    names = ["black footed albatross", "Indigo Bunting", "Common Yellowthroat", "Dodo"]
    file = tmp_path / "published.json"
    file.write_text(json.dumps({name: [f"A {name}.", "A bird."] for name in names}))
    output = here("import", str(file), "--data", "cub", "--data-root", str(root))
    target = root / "descriptions" / "cub.cupl.json"
    assert f"6 texts of 3 classes, written to {target}" in output
    assert "black footed albatross -> Black-footed Albatross" in output
    assert "Left out, no class of cub: Dodo" in output
    assert list(json.loads(target.read_text())) == [
        "Black-footed Albatross",
        "Indigo Bunting",
        "Common Yellowthroat",
    ]
    file.write_text(json.dumps({"Albatros": ["x"], names[1]: ["x"], names[2]: ["x"]}))
    options = ("--data", "cub", "--data-root", str(root), "--to", str(tmp_path / "out.json"))
    error = here("import", str(file), *options, status=2)
    assert "no texts for 1 of 3 classes: Black-footed Albatross" in error
    renames = tmp_path / "renames.json"
    renames.write_text(json.dumps({"Albatros": "Black-footed Albatross"}))
    here("import", str(file), *options, "--renames", str(renames))
    assert (tmp_path / "out.json").is_file()
    here("import", str(tmp_path / "out.json"), *options[:4], "--kind", "bifta")
    assert (root / "descriptions" / "cub.bifta.json").is_file()


def test_reproduce_ends_with_status_2_where_nothing_can_be_measured(
    wca: Command, tmp_path: Path
) -> None:
    error = wca("reproduce", "table1", "--data-root", str(tmp_path), status=2)
    assert "wca: None of the 108 cells of table1 could be measured (ImageNet" in error
    assert "below --data-root or WCA_DATA_ROOT as `wca datasets NAME` shows" in error


def test_reproduce_prints_our_results_beside_published_ones(
    wca: Command,
    root: Path,
    tiny_model: Path,
) -> None:
    printed = wca(
        *("reproduce", "table1", "--data-root", str(root), "--datasets", "cub,pets"),
        *("--encoders", f"local-dir:{tiny_model},ViT-B-16-quickgelu/openai"),
        *("--methods", "clip,wca", "--pool", "2", "--runs", "2", "--precision", "fp32"),
        *("--store", str(wca.store)),
    )
    assert f"local-dir:{tiny_model} - not published; beside it B/32" in printed
    assert "/ 51.21" in printed  # CLIP on CUB with B/32
    assert "ViT-B-16-quickgelu/openai (B/16)" in printed
    assert "missing / 59.78" in printed  # WCA on CUB with B/16
    assert "3 of 5,794 images were scored" in printed
    assert "missing, pets: Oxford-IIIT Pets is missing" in printed
    assert (wca.store / "reproduced" / "table1.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("datasets", "cubs"), "Unknown data set 'cubs'"),
        (("datasets", "imagenet", "--download"), "cannot be downloaded by a program"),
        (("reproduce", "table7"), "Unknown table 'table7': choose from awt, bifta, table1, table2"),
        (("reproduce", "table1", "--encoder", "photo-lite"), "belongs to one benchmark"),
        (
            ("reproduce", "table1", "--encoders", "ViT-B-16-quickgelu:/no/such/weights"),
            "The encoder's weights /no/such/weights do not exist",
        ),
        (("import", "x.json", "--data", "folder:x"), "Name the file to write with --to"),
        (
            ("import", "x.json", "--data", "cub", "--classnames", "names.txt", "--kind", "clip-d"),
            "Name the file to write with --to, then give it to --descriptors",
        ),
        (("benchmark", "csv:/no/such.csv"), "Cannot read /no/such.csv: No such file"),
        (("benchmark", "sixteen-photographs", "--split", "test"), "has no splits"),
        (("benchmark", "folder:x", "--limit", "0"), "limit: Input should be greater"),
    ],
)
def test_bad_input_is_one_sentence(
    here: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("WCA_DATA_ROOT", str(tmp_path))
    assert message in here(*arguments, status=2)
