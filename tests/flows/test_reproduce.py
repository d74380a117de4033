"""The reproduce flow over trees of the published data sets, on a real Prefect server."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from flows.reproduce import Reproduction, reproduce
from flows.settings.reproduce import ReproduceConfig
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.published import judge, published_table
from tasks.report.published_text import notes
from tasks.runtime.errors import InputError
from tests.conftest import write_tiny_model
from tests.datasets.trees import TREES

pytestmark = pytest.mark.usefixtures("prefect_server")

TABLE1 = ("imagenet", "cub", "pets", "dtd", "food101", "places365")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set of table 1 but Pets; descriptions of one."""
    root = tmp_path_factory.mktemp("root")
    for name in TABLE1:
        if name != "pets":
            TREES[name](root)
    names = open_source(DataSource(data="cub", data_root=root)).class_names
    (root / "descriptions").mkdir()
    texts = {name: [f"A {name} flies.", "A bird."] for name in names}
    (root / "descriptions" / "cub.cupl.json").write_text(json.dumps(texts))
    return root


@pytest.fixture
def config(data_root: Path, tiny_model: Path, tmp_path: Path) -> ReproduceConfig:
    model = tmp_path / "Übungsmodell"  # a name that no artifact can have
    model.symlink_to(tiny_model)
    return ReproduceConfig(
        encoders=(f"local-dir:{model}",),
        methods=("clip", "cupl", "wca"),
        precision="fp32",
        device="cpu",
        data_root=data_root,
        pool=3,
        runs=2,
        store=tmp_path / "store",
    )


def cells(result: Reproduction) -> dict[tuple[str, str], str]:
    return {(c.dataset, c.method): c.reason or str(c.image_count) for c in result.cells}


def test_the_whole_grid_is_there_and_what_is_missing_says_why(config: ReproduceConfig) -> None:
    result = reproduce(config)
    found = cells(result)
    assert set(found) == {(d, m) for d in TABLE1 for m in ("clip", "cupl", "wca")}
    assert [found[d, "clip"] for d in TABLE1 if d != "pets"] == ["6", "3", "2", "3", "3"]
    assert "Oxford-IIIT Pets is missing" in found["pets", "clip"]
    assert (found["cub", "wca"], found["dtd", "wca"]) == (
        "3",
        "no descriptions: see `wca import --help`",
    )
    with result.path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    how = {(row["precision"], row["resampling"]) for row in rows if row["top1"]}
    assert how == {("fp32", "pillow")}
    again = reproduce(config)
    assert again.cells == result.cells


def test_data_sets_share_an_encoder_that_is_given_back(
    config: ReproduceConfig, tmp_path: Path, loads: list[str]
) -> None:
    from tasks.embed import encoder

    other = write_tiny_model(tmp_path / "other", seed=1)
    encoders = (*config.encoders, f"local-dir:{other}")
    changes = {"encoders": encoders, "datasets": ("cub", "dtd"), "methods": ("clip",)}
    reproduce(config.model_copy(update=changes))
    assert loads == list(encoders)
    assert encoder._load.cache_info().currsize == 0


def test_presets_hold_unless_something_else_was_said(config: ReproduceConfig) -> None:
    from tasks.store.runs import read_runs
    from tasks.store.tables import Store

    small = {"datasets": ("places365",), "methods": ("clip",)}
    free = ReproduceConfig(**{**config.model_dump(exclude_unset=True), **small})
    reproduce(free)
    reproduce(ReproduceConfig(**{**free.model_dump(exclude_unset=True), "alpha": 0.6}))
    used = [run.parameters for run, _, _ in read_runs(Store(config.store))]
    assert [(p["alpha"], p["pool"], p["runs"], p["crops"]) for p in used] == [
        (0.7, 3, 2, 60),
        (0.6, 3, 2, 60),
    ]


def test_a_table_brings_the_settings_its_rows_were_measured_with(config: ReproduceConfig) -> None:
    from tasks.store.runs import read_runs
    from tasks.store.tables import Store

    small = {"table": "bifta", "datasets": ("cub",), "methods": ("wca_refined",)}
    bifta = ReproduceConfig(**{**config.model_dump(exclude_unset=True), **small})
    assert cells(reproduce(bifta)) == {("cub", "wca_refined"): "3"}
    reproduce(ReproduceConfig(**{**bifta.model_dump(exclude_unset=True), "crop_strategy": "even"}))
    used = [run.parameters["crop_strategy"] for run, _, _ in read_runs(Store(config.store))]
    assert used == ["refined", "even"]


def test_bifta_has_its_own_candidates_alpha_and_texts(
    config: ReproduceConfig, data_root: Path, tmp_path: Path
) -> None:
    from tasks.store.runs import read_runs
    from tasks.store.tables import Store

    root = tmp_path / "root"
    for name in ("cub", "places365"):
        TREES[name](root)
    (root / "descriptions").mkdir()
    cupl = data_root / "descriptions" / "cub.cupl.json"
    imported = {name: ["A bird of BiFTA's."] for name in json.loads(cupl.read_text())}
    shutil.copy(cupl, root / "descriptions")
    (root / "descriptions" / "cub.bifta.json").write_text(json.dumps(imported))
    small = {"table": "bifta", "data_root": root, "datasets": ("cub", "places365")}
    changes = {**small, "methods": ("clip", "wca_refined")}
    reproduce(ReproduceConfig(**{**config.model_dump(exclude_unset=True), **changes}))
    store = Store(config.store)
    used = {run.dataset_name: run for run, *_ in read_runs(store)}
    names = ("alpha", "pool", "crop_candidates")
    parameters = {data: [run.parameters[n] for n in names] for data, run in used.items()}
    assert parameters == {"cub": [0.5, 3, 300], "places365": [0.5, 3, 100]}
    assert "cub.bifta.json" in used["cub"].command


def test_an_image_that_cannot_be_decoded_is_rejected_and_not_scored(
    config: ReproduceConfig, data_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(data_root / "CUB_200_2011", root / "CUB_200_2011")
    (broken,) = root.rglob("Indigo_Bunting_*.jpg")
    broken.write_bytes(broken.read_bytes()[:400])
    result = reproduce(
        config.model_copy(update={"data_root": root, "datasets": ("cub",), "methods": ("clip",)})
    )
    (cell,) = result.cells
    assert (cell.image_count, cell.rejected_count) == (2, 1)
    table = published_table("table1")
    count, how = notes(table, [judge(table, cell)])
    assert "2 of 5,794 images were scored, 1 rejected;" in count
    assert how.endswith(": images were embedded in fp32, crops were resized by Pillow.")


def test_an_encoder_that_is_not_there_is_missing_not_dropped(config: ReproduceConfig) -> None:
    encoders = ("nope/none", *config.encoders)
    result = reproduce(config.model_copy(update={"encoders": encoders, "datasets": ("cub",)}))
    assert ["nope" in cell.reason for cell in result.cells] == [True] * 3 + [False] * 3


def test_a_grid_without_any_cell_is_an_error_that_says_what_to_put_where(
    config: ReproduceConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        reproduce(config.model_copy(update={"data_root": tmp_path / "empty"}))
    message = str(error.value)
    assert message.startswith("None of the 18 cells of table1 could be measured (ImageNet")
    for advice in ("--data-root", "WCA_DATA_ROOT", "`wca datasets NAME`", "`wca import`"):
        assert advice in message
    assert message.count(".") == 1
    assert not (tmp_path / "store" / "reproduced" / "table1.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "table9"}, "Unknown table 'table9'"),
        ({"datasets": ("cubs",)}, "Unknown data set 'cubs'"),
        ({"methods": ("clop",)}, "Unknown method 'clop'"),
    ],
)
def test_what_does_not_exist_is_refused(
    config: ReproduceConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reproduce(config.model_copy(update=changes))


def test_settings_of_one_benchmark_are_refused() -> None:
    with pytest.raises(ValueError, match="--encoder belongs to one benchmark"):
        ReproduceConfig(encoder="photo-lite")
