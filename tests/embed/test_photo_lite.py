import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from tasks.datasets.files import package_folder
from tasks.embed import photo_lite
from tasks.embed.photo_lite import (
    HEAD_PATH,
    HEAD_SHA256,
    WEIGHTS_NAME,
    assemble,
    check_file,
    find_weight_files,
    load_image_tower,
)
from tasks.runtime.errors import InputError

# the folder's name is no module's: the program is loaded by its path
_program = run_path(str(HEAD_PATH.with_name("train.py")))
Concept, expected_feature = _program["Concept"], _program["expected_feature"]
CONTEXT_LENGTH, EMBEDDING_DIM = _program["CONTEXT_LENGTH"], _program["EMBEDDING_DIM"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def loaded(folder: Path):
    """Open the folder with open_clip alone: the model and its preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), preprocess


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def chelsea() -> Image.Image:
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.origin is not None
    return Image.open(Path(spec.origin).parent / "data" / "chelsea.png").convert("RGB")


@torch.inference_mode()
def similarities(model, preprocess, tokenizer, image: Image.Image, texts: list[str]) -> list[float]:
    pixels = preprocess(image).unsqueeze(0)
    features = model.encode_image(pixels, normalize=True)
    return (features @ model.encode_text(tokenizer(texts), normalize=True).T)[0].tolist()


def test_committed_head_is_the_one_named_and_small():
    check_file(HEAD_PATH, HEAD_SHA256)
    assert HEAD_PATH.stat().st_size <= 4_000_000


def test_tampered_head_is_refused_in_one_sentence(tmp_path, monkeypatch):
    altered = tmp_path / "head.safetensors"
    content = bytearray(HEAD_PATH.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    monkeypatch.setattr(photo_lite, "HEAD_PATH", altered)
    with pytest.raises(InputError, match=r"SHA-256 differs\); run make install") as refusal:
        assemble(tmp_path / "cache")
    assert str(refusal.value).count(". ") == 0
    assert not (tmp_path / "cache").exists()


def test_missing_file_and_package_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="missing; run make install"):
        check_file(tmp_path / "none", HEAD_SHA256)
    with pytest.raises(InputError, match="not installed: run `make install`"):
        package_folder("a_package_nobody_has")


def test_second_assembly_imports_no_framework_and_changes_nothing(folder):
    weights = folder / WEIGHTS_NAME
    before = weights.stat().st_mtime_ns
    program = (
        "import sys; from pathlib import Path; from tasks.embed.photo_lite import assemble; "
        f"print(assemble(Path({str(folder.parent)!r})));"
        "assert not {'torch', 'open_clip', 'transformers', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=HEAD_PATH.parents[2],
    )
    assert done.stdout.strip() == str(folder)
    assert weights.stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_another_process_wrote_first_is_kept(tmp_path):
    winner, loser = tmp_path / "folder", tmp_path / ".temporary"
    for place in (winner, loser):
        place.mkdir()
        (place / WEIGHTS_NAME).write_text(place.name)
    photo_lite._rename_unless_exists(loser, winner)
    assert (winner / WEIGHTS_NAME).read_text() == "folder"


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    incomplete = tmp_path / "head.safetensors"
    save_file({"unrelated": torch.zeros(1)}, incomplete)
    monkeypatch.setattr(photo_lite, "TOKENIZER_NAMES", ("no_such_file",))
    with pytest.raises(FileNotFoundError):
        assemble(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_folder_has_the_published_towers(folder):
    state = load_file(folder / WEIGHTS_NAME)
    published = load_image_tower(find_weight_files().image).state_dict()
    trunk = {k.removeprefix("visual.trunk."): v for k, v in state.items() if ".trunk." in k}
    assert set(published) - set(trunk) == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(trunk[name], published[name]) for name in trunk)
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert config["model_cfg"]["embed_dim"] == EMBEDDING_DIM <= 512


def test_text_embedding_ignores_padding_and_length_is_kept(loaded, tokenizer):
    model, _ = loaded
    texts = ["a photo of a cat.", "a long sentence " * 200]
    tokens = tokenizer(texts)
    assert tokens.shape == (2, CONTEXT_LENGTH)
    assert tokens[1, -1] == tokens[0][tokens[0] != 0][-1]  # truncated, end token kept
    with torch.inference_mode():
        padded = model.encode_text(tokens[:1])
        bare = model.encode_text(tokens[:1, : int((tokens[0] != 0).sum())])
    assert padded.shape == (1, EMBEDDING_DIM)
    torch.testing.assert_close(padded, bare, rtol=1e-4, atol=1e-4)


def test_image_projection_is_orthonormal_and_orthogonal_to_the_mean_feature(loaded):
    model, _ = loaded
    projection = model.visual.head.proj.weight.detach().double()
    last = model.visual.trunk.bn2
    mean = expected_feature(last.weight.detach().double(), last.bias.detach().double())
    assert (projection @ mean).norm() < 1e-3 * mean.norm()
    identity = torch.eye(EMBEDDING_DIM).double()
    torch.testing.assert_close(projection @ projection.T, identity, rtol=0, atol=1e-3)


def test_image_projection_keeps_as_much_of_the_classifier_as_any_could(loaded):
    model, _ = loaded
    tower = load_image_tower(find_weight_files().image).state_dict()
    direction = normalize(expected_feature(tower["bn2.weight"], tower["bn2.bias"]), dim=0)
    rows = tower["classifier.weight"] - tower["classifier.weight"].mean(0)
    rows = rows - (rows @ direction)[:, None] * direction
    kept = (rows @ model.visual.head.proj.weight.detach().T).square().sum()
    # the best possible, by Eckart and Young: the sum of the largest eigenvalues of the Gram matrix
    best = torch.linalg.eigvalsh(rows @ rows.T)[-EMBEDDING_DIM:].sum()
    torch.testing.assert_close(kept, best, rtol=1e-3, atol=0)


def test_mean_feature_equals_the_mean_of_many_draws():
    generator = torch.Generator().manual_seed(0)
    gamma, beta = torch.tensor([1.0, -2.0, 5.0, 0.1]), torch.tensor([-1.0, 0.5, 3.0, 7.0])
    draws = torch.randn(400_000, 4, generator=generator) * gamma + beta
    expected = draws.clamp(0, 6).mean(0)
    torch.testing.assert_close(expected_feature(gamma, beta), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("other", ["truck", "piano", "goldfish", "mountain bike"])
def test_a_cat_looks_like_a_cat(loaded, tokenizer, other):
    texts = ["a photo of a cat.", f"a photo of a {other}."]
    cat, rest = similarities(*loaded, tokenizer, chelsea(), texts)
    assert cat > rest


def test_a_sentence_that_names_nothing_still_finds_the_cat(loaded, tokenizer):
    texts = [
        "a small furry pet with whiskers, pointed ears and a long tail",
        "a large road vehicle with an engine, a cab and a loading bed",
    ]
    cat, truck = similarities(*loaded, tokenizer, chelsea(), texts)
    assert cat > truck


def test_templates_are_filled_with_the_article():
    concept = Concept("emu", "emu, Dromaius novaehollandiae", "a large bird")
    assert concept.fill("{Name} is {definition}.") == "An emu is a large bird."
    assert concept.fill("a photo of a {lemma}.") == "a photo of a Dromaius novaehollandiae."
