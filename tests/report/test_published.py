import pytest

from tasks.report.published import (
    Measured,
    compare,
    csv_rows,
    grid,
    notes,
    published_table,
)
from tasks.store.errors import InputError

B32, B16 = "ViT-B-32-quickgelu/openai", "ViT-B-16-quickgelu/openai"
TITLES = {"clip": "CLIP", "clip_e": "CLIP-E", "cupl": "CuPL", "wca": "WCA"}


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
    assert one.value("wca", "places365", "ViT-L-14-quickgelu/openai") == 42.23
    assert one.value("cupl", "dtd", B16) == 50.53
    for method, values in two.top1.items():
        mean = sum(v["B/16"] for v in values.values()) / len(two.datasets)
        assert mean == pytest.approx(two.mean[method]["B/16"], abs=0.011), method
    with pytest.raises(InputError, match="choose from table1, table2"):
        published_table("table3")


def test_weights_as_a_file_count_as_the_published_ones_and_others_do_not() -> None:
    table = published_table("table1")
    assert table.label("ViT-B-32-quickgelu:/weights/b32.safetensors") == "B/32"
    assert table.label("ViT-B-32-quickgelu/laion400m_e32") is None
    assert table.label("photo-lite") is None


@pytest.mark.parametrize(
    ("method", "top1", "difference", "in_sigma", "in_interval"),
    [
        ("wca", 57.2544, 0.34, True, True),  # the published deviation is 0.17: the edge is inside
        ("wca", 57.26, 0.35, False, True),
        ("wca", 55.0, -1.91, False, False),
        ("clip", 51.5, 0.29, None, True),
    ],
)
def test_a_difference_is_judged_by_runs_and_by_images(
    method: str, top1: float, difference: float, in_sigma: bool | None, in_interval: bool
) -> None:
    cell = compare(published_table("table1"), measured(method, top1))
    assert cell[2:] == (difference, in_sigma, in_interval)


def test_without_a_published_deviation_ours_counts() -> None:
    ours = measured("wca", 56.0, dataset="imagenet-a", encoder=B16, sigma=0.1)
    assert compare(published_table("table2"), ours).is_in_sigma is True
    assert (
        compare(published_table("table2"), ours.model_copy(update={"sigma": 0.01})).is_in_sigma
        is False
    )


def test_the_grid_shows_ours_theirs_and_what_is_missing() -> None:
    table = published_table("table1")
    cells = [
        compare(table, measured("clip", 51.5)),
        compare(table, measured("wca", None, reason="no descriptions")),
        compare(table, measured("clip", None, dataset="dtd", reason="not here")),
        compare(table, measured("wca", None, dataset="dtd", reason="not here")),
    ]
    assert grid(table, B32, ["cub", "dtd"], cells, TITLES) == [
        {"method": "CLIP", "cub": "51.50 / 51.21\n+0.29 n+", "dtd": "missing / 42.93"},
        {"method": "WCA", "cub": "missing / 56.91", "dtd": "missing / 49.39"},
    ]
    assert notes(cells) == ["missing, cub: no descriptions", "missing, dtd: not here"]
    rows = csv_rows(cells)
    assert rows[0]["published"] == 51.21
    assert rows[2]["missing_because"] == "not here"


def test_beside_an_encoder_of_ones_own_stands_the_first_published_one_unjudged() -> None:
    table = published_table("table1")
    cells = [compare(table, measured("clip", 20.0, encoder="photo-lite"))]
    assert grid(table, "photo-lite", ["cub"], cells, TITLES) == [
        {"method": "CLIP", "cub": "20.00 / 51.21"}
    ]
    assert (cells[0].published, cells[0].difference) == (None, None)


def test_the_mean_of_the_shifts_is_shown_when_all_are_there() -> None:
    table = published_table("table2")
    cells = [
        compare(table, measured("clip", 50.0 + i, dataset=d, encoder=B16))
        for i, d in enumerate(table.datasets)
    ]
    (row,) = grid(table, B16, table.datasets, cells, TITLES)
    assert row["mean"] == "52.00 / 59.09\n-7.09"


def test_a_baseline_that_is_off_by_a_point_is_said_first() -> None:
    table = published_table("table1")
    (line,) = notes([compare(table, measured("clip", 52.3)), compare(table, measured("wca", 40.0))])
    assert "plain CLIP is +1.09 points" in line
    assert "image pipeline" in line
    assert notes([compare(table, measured("clip", 52.2))]) == []
    how = {"precision": "fp16", "resampling": "device"}
    assert notes([compare(table, measured(m, 52.2, **how)) for m in ("clip", "wca")]) == [
        f"{B32}: images embedded in fp16, crops resized by the device."
    ]
    (line,) = notes([compare(table, measured("clip", 90.0, image_count=3))])
    assert (
        line == f"cub, {B32}: 3 of 5,794 images were scored; the published value is of all of them."
    )
