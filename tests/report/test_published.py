import pytest

from flows.settings.benchmark import BenchmarkConfig
from tasks.datasets.named.cards import card_names
from tasks.report.published import Measured, judge, published_table
from tasks.report.published_text import csv_rows, layout, notes
from tasks.runtime.errors import InputError

B32, B16 = "ViT-B-32-quickgelu/openai", "ViT-B-16-quickgelu/openai"


def measured(method: str, top1: float | None, **changes: object) -> Measured:
    facts = {
        "dataset": "cub",
        "encoder": B32,
        "method": method,
        "top1": top1,
        "low": (top1 or 0) - 1,
        "high": (top1 or 0) + 1,
        "image_count": 5794,
        "expected_count": 5794,
        **changes,
    }
    return Measured.model_validate(facts)


def test_the_published_tables_are_whole() -> None:
    one, two = published_table("table1"), published_table("table2")
    assert set(one.top1) == {"clip", "clip_e", "clip_d", "waffle", "cupl", "wca"}
    for values in [*one.top1.values(), one.sigma]:
        assert set(values) == set(one.datasets)
        assert all(set(v) == {"B/32", "B/16", "L/14"} for v in values.values())
    assert one.value("wca", "places365", one.label("ViT-L-14-quickgelu/openai")) == 42.23
    assert one.value("cupl", "dtd", one.label(B16)) == 50.53
    for method, values in two.top1.items():
        mean = sum(v["B/16"] for v in values.values()) / len(two.datasets)
        assert mean == pytest.approx(two.mean[method]["B/16"], abs=0.011), method
    with pytest.raises(InputError, match="choose from awt, bifta, table1, table2"):
        published_table("table3")


# Li et al. 2024, table 1, as printed: B/32, B/16 and L/14 on each data set
PRINTED = """
clip 62.05 66.74 73.48  51.21 56.01 62.12  85.04 88.14 93.24
  42.93 42.98 52.61  82.60 88.40 92.55  38.51 39.27 39.63
clip_e 63.37 68.37 75.52  52.74 56.16 62.53  87.38 89.10 93.62
  43.83 45.27 55.43  83.93 88.83 93.07  39.28 40.30 40.55
clip_d 63.01 68.04 75.03  52.69 57.08 63.26  84.46 87.52 93.30
  44.20 46.17 55.05  84.12 88.85 93.03  39.90 40.34 40.55
waffle 63.30 68.12 75.31  52.04 56.89 62.27  85.50 86.51 91.55
  42.98 44.68 54.31  83.98 89.06 93.33  39.47 40.76 40.89
cupl 64.37 69.61 76.62  49.76 56.42 62.15  87.03 91.14 94.33
  47.50 50.53 60.59  84.20 88.98 93.37  39.08 39.83 40.77
wca 66.84 71.08 77.32  56.91 59.78 65.24  89.89 92.23 94.66
  49.39 52.79 61.78  86.40 90.01 93.96  40.66 41.43 42.23
sigma .07 .05 .03  .17 .15 .12  .09 .10 .09
  .16 .17 .16  .05 .04 .04  .05 .05 .03
"""
# and table 2: ImageNet, V2, R, Sketch, A, mean
PRINTED_SHIFTS = """
clip 66.74 60.83 73.96 46.15 47.77 59.09
clip_e 68.37 61.90 77.40 47.87 49.00 60.91
cupl 69.61 63.27 77.10 48.80 50.77 61.91
wca 71.08 64.71 78.06 50.18 56.13 64.03
"""


def test_the_published_tables_are_the_printed_ones() -> None:
    one, two = published_table("table1"), published_table("table2")
    words = PRINTED.split()
    for start in range(0, len(words), 19):
        method, *printed = words[start : start + 19]
        values = one.sigma if method == "sigma" else one.top1[method]
        found = [value for dataset in one.datasets for value in values[dataset].values()]
        assert found == [float(value) for value in printed]
    assert len(words) == 7 * 19
    for line in PRINTED_SHIFTS.strip().splitlines():
        method, *printed = line.split()
        found = [two.top1[method][dataset]["B/16"] for dataset in two.datasets]
        assert [*found, two.mean[method]["B/16"]] == [float(value) for value in printed]


def test_weights_as_a_file_count_as_the_published_ones_and_others_do_not() -> None:
    table = published_table("table1")
    assert table.label("ViT-B-32-quickgelu:/weights/b32.safetensors") == "B/32"
    assert table.label("ViT-B-32-quickgelu/openai:/weights/b32.safetensors") == "B/32"
    assert table.label("ViT-B-32-quickgelu/metaclip_400m:/weights/b32.safetensors") is None
    assert table.label("ViT-B-32-quickgelu/laion400m_e32") is None
    assert table.label("photo-lite") is None


@pytest.mark.parametrize(
    ("method", "top1", "sigma", "difference", "tolerance", "is_within_tolerance"),
    [
        # published 56.91, deviation 0.17: twice the root of 0.17^2 + 0.17^2, then + 0.08^2
        ("wca", 57.4, None, 0.49, 0.49, True),
        ("wca", 57.3044, 0.08, 0.39, 0.38, False),
        ("wca", 57.2944, 0.08, 0.38, 0.38, True),
        # nothing is drawn: what libraries change
        ("clip", 51.51, None, 0.30, 0.30, True),
        ("clip", 51.52, None, 0.31, 0.30, False),
        ("waffle", 52.0, None, -0.04, None, None),
    ],
)
def test_a_difference_is_judged_by_what_can_differ_on_the_same_images(
    method: str,
    top1: float,
    sigma: float | None,
    difference: float,
    tolerance: float | None,
    is_within_tolerance: bool | None,
) -> None:
    cell = judge(published_table("table1"), measured(method, top1, sigma=sigma))
    assert (cell.difference, cell.tolerance, cell.is_within_tolerance) == (
        difference,
        tolerance,
        is_within_tolerance,
    )


def test_the_interval_over_images_judges_nothing() -> None:
    wide = measured("clip", 53.0, low=0.0, high=100.0)
    assert judge(published_table("table1"), wide).is_within_tolerance is False
    narrow = measured("clip", 51.3, low=51.29, high=51.31)
    assert judge(published_table("table1"), narrow).is_within_tolerance is True


def test_one_image_is_no_difference_and_a_part_of_them_is_not_judged() -> None:
    table = published_table("table1")
    few = measured("clip", 51.21 + 0.66, image_count=150, expected_count=150)
    assert (judge(table, few).tolerance, judge(table, few).is_within_tolerance) == (0.67, True)
    part = judge(table, measured("clip", 51.21, image_count=3))
    assert (part.difference, part.tolerance, part.is_within_tolerance) == (0, None, None)


def test_without_a_published_deviation_ours_counts_for_both() -> None:
    table = published_table("table2")
    ours = measured("wca", 56.0, dataset="imagenet-a", encoder=B16, sigma=0.5)
    assert judge(table, ours).tolerance == 1.42
    steady = ours.model_copy(update={"sigma": 0.01})
    assert judge(table, steady).tolerance == 0.3


def test_cells_that_are_not_like_for_like_get_a_sentence_each_and_no_verdict() -> None:
    table, large = published_table("bifta"), "ViT-L-14-quickgelu/openai"
    cell = judge(table, measured("wca_refined", 65.67, encoder=large))
    assert (cell.difference, cell.tolerance, cell.is_within_tolerance) == (0, None, None)
    (row,) = layout(table, large, ["cub"], [cell])
    assert row["cub"] == "65.67 / 65.67\n+0.00"
    sentences = notes(table, [cell])
    assert len(sentences) == 3
    assert all(n.startswith("not like for like, WCA, refined texts on cub: ") for n in sentences)
    assert "--kind bifta" in str(csv_rows([cell])[0]["unlike_because"])


def test_a_cell_without_a_published_figure_says_how_it_is_measured_otherwise() -> None:
    table = published_table("awt")
    assert len(table.datasets) == 12
    assert set(table.datasets) <= set(card_names())
    BenchmarkConfig(data="cub").with_values(table.settings, "a test")
    cell = judge(table, measured("clip", 55.0, encoder=B16, dataset="eurosat"))
    assert (cell.published, cell.difference, cell.tolerance) == (None, None, None)
    label, names = notes(table, [cell])
    assert "(a photo of a {}, a type of flower)" in label
    assert "(lake or sea)" in names
    assert notes(table, [judge(table, measured("clip", 55.0, encoder=B16, dataset="cars"))]) == []
    assert not judge(table, measured("clip", 55.0, dataset="eurosat")).unlike  # another encoder


def test_clip_d_on_imagenet_is_not_judged_for_four_names() -> None:
    table = published_table("table1")
    cells = [
        judge(table, measured(method, 63.0, dataset=dataset))
        for dataset in ("imagenet", "cub")
        for method in ("clip_d", "waffle")
    ]
    assert [cell.tolerance is not None for cell in cells] == [False, False, True, False]
    names = notes(table, cells)
    assert [name.partition(":")[0] for name in names] == [
        "not like for like, CLIP-D on imagenet",
        "not like for like, Waffle on imagenet",
    ]
    assert all("eft, maillot, projectile and sunglass" in name for name in names)


def test_a_note_says_that_weights_of_a_file_are_unchecked() -> None:
    table = published_table("table1")
    file = "ViT-B-32-quickgelu:/weights/b32.pt"
    (line,) = notes(
        table,
        [judge(table, measured(m, 51.3, encoder=file)) for m in ("clip", "clip_e", "cupl", "wca")],
    )
    assert line.startswith(f"{file}: this file counts as B/32")
    assert "not checked" in line


def test_the_grid_shows_ours_theirs_and_what_is_missing() -> None:
    table = published_table("table1")
    cells = [
        judge(table, measured("clip", 51.5)),
        judge(table, measured("wca", None, reason="no descriptions")),
        judge(table, measured("clip", None, dataset="dtd", reason="not here")),
        judge(table, measured("wca", None, dataset="dtd", reason="not here")),
    ]
    assert layout(table, B32, ["cub", "dtd"], cells) == [
        {"method": "CLIP", "cub": "51.50 / 51.21\n+0.29 agrees", "dtd": "missing / 42.93"},
        {"method": "WCA", "cub": "missing / 56.91", "dtd": "missing / 49.39"},
    ]
    assert notes(table, cells) == ["missing, cub: no descriptions", "missing, dtd: not here"]
    rows = csv_rows(cells)
    assert rows[0]["published"] == 51.21
    assert (rows[0]["tolerance"], rows[0]["is_within_tolerance"]) == (0.3, True)
    assert rows[2]["missing_because"] == "not here"


def test_beside_an_encoder_of_ones_own_stands_the_first_published_one_unjudged() -> None:
    table = published_table("table1")
    cells = [judge(table, measured("clip", 20.0, encoder="photo-lite"))]
    assert layout(table, "photo-lite", ["cub"], cells) == [
        {"method": "CLIP", "cub": "20.00 / 51.21"}
    ]
    assert (cells[0].published, cells[0].difference) == (None, None)


def test_the_mean_of_the_shifts_is_shown_when_all_are_there() -> None:
    table = published_table("table2")
    cells = [
        judge(table, measured("clip", 50.0 + i, dataset=d, encoder=B16))
        for i, d in enumerate(table.datasets)
    ]
    (row,) = layout(table, B16, table.datasets, cells)
    assert row["mean"] == "52.00 / 59.09\n-7.09"


def test_the_first_note_names_a_baseline_that_is_off_by_a_point() -> None:
    table = published_table("table1")
    (line,) = notes(
        table, [judge(table, measured("clip", 52.3)), judge(table, measured("wca", 40.0))]
    )
    assert "plain CLIP is +1.09 points" in line
    assert "class names, the prompts, the image pipeline" in line
    assert notes(table, [judge(table, measured("clip", 52.2))]) == []
    how = {"precision": "fp16", "resampling": "device"}
    cells = [judge(table, measured(m, 52.2, **how)) for m in ("clip", "wca")]
    ours, theirs = notes(table, cells)
    assert ours == f"{B32}: images were embedded in fp16, crops were resized by the device."
    assert "half precision, with which 99.85 to 99.98 % of predictions are the same" in theirs
    (line,) = notes(table, [judge(table, measured("clip", 90.0, image_count=3))])
    assert (
        line == f"cub, {B32}: 3 of 5,794 images were scored; the published value is of all of them."
    )
