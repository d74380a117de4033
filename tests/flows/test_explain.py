"""`wca classify --explain` as people run it: words, a page, and pictures."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import photograph
from tests.flows.conftest import Command

TEXTS = {
    "cat": ["Furry.", "Has whiskers.", "<script>alert(1)</script>"],
    "dog": ["Barks."],
    "قطة كبيرة": ["Hot.", "x" * 10_000],
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.json"
    path.write_text(json.dumps(TEXTS))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "b cat.png", folder / "a cup.png"]
    for path, name in zip(paths, ("chelsea.png", "coffee.png"), strict=True):
        photograph(name).save(path)
    return [str(path) for path in paths]


def test_words_page_and_pictures(
    wca: Command, tiny_model: Path, texts: Path, pictures: list[str]
) -> None:
    said = wca(
        *("classify", *pictures, "--classes", str(texts), "--descriptions", str(texts)),
        *("--encoder", f"local-dir:{tiny_model}", "--pool", "5", "--explain"),
        *("--store", str(wca.store)),
    )
    assert said.count("the margin is") == 2
    assert said.index("b cat.png: ") < said.index("a cup.png: ")  # in the order they were named
    page = next(Path(wca.store).glob("runs/*/report.html"))
    assert str(page) in said
    text = page.read_text(encoding="utf-8")
    assert text.count('<details class="explained"') == 2
    assert "<script>alert" not in text
    for section in ("accuracy", "claim", "images"):  # there are no labels
        assert f'<section id="{section}">' not in text
    drawn = sorted(page.parent.glob("explanation-*.png"))
    assert [path.name for path in drawn] == ["explanation-1.png", "explanation-2.png"]
    for path in drawn:
        assert str(path) in said
        with Image.open(path) as image:
            assert image.width > 1000
            # something is drawn where the charts of similarities should be
            assert len(image.convert("L").crop((0, image.height // 2, *image.size)).getcolors()) > 9


def test_without_descriptions_there_is_nothing_to_explain(
    wca: Command, pictures: list[str]
) -> None:
    said = wca("classify", *pictures, "--classes", "cat,dog", "--explain", status=2)
    assert "name --descriptions FILE or --llm" in said
