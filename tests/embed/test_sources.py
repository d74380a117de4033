"""What a name of an encoder decides: preprocessing, text reading and logits, as open_clip does."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.pretrained import list_pretrained, list_pretrained_tags_by_model
from pydantic_core import to_jsonable_python
from safetensors.torch import save_file
from torchvision.transforms import Normalize

from tasks.embed.encoder import load_encoder
from tasks.embed.identity import Logits, TextReading
from tasks.embed.sources import find_text_reading, resolve_encoder
from tasks.embed.weights import read_logits
from tasks.runtime.errors import InputError
from tests.conftest import TINY_CONFIG, photograph

# At least one tag of each family that open_clip preprocesses in its own way.
TAGS = (
    "RN50x4-quickgelu/openai",
    "ViT-B-32-quickgelu/openai",
    "ViT-B-32-quickgelu/metaclip_400m",
    "ViT-B-16/datacomp_xl_s13b_b90k",
    "ViT-B-16-quickgelu/dfn2b",
    "ViT-L-14/laion2b_s32b_b82k",
    "ViT-L-14/laion400m_e32",
    "ViT-H-14-quickgelu/dfn5b",
    "ViT-H-14-378-quickgelu/dfn5b",
    "ViT-H-14-quickgelu/metaclip_fullcc",
    "ViT-H-14-worldwide-378/metaclip2_worldwide",
    "ViT-bigG-14/laion2b_s39b_b160k",
    "ViT-L-14-CLIPA-336/datacomp1b",
    "ViT-H-14-CLIPA/datacomp1b",
    "ViT-B-16-SigLIP/webli",
    "ViT-SO400M-14-SigLIP-384/webli",
    "ViT-B-32-SigLIP2-256/webli",
    "ViT-gopt-16-SigLIP2-384/webli",
    "PE-Core-B-16/meta",
    "PE-Core-L-14-336/meta",
    "MobileCLIP-S2/datacompdr",
    "MobileCLIP-B/datacompdr_lt",
    "MobileCLIP2-S0/dfndr2b",
    "MobileCLIP2-S3/dfndr2b",
    "MobileCLIP2-L-14/dfndr2b",
    "EVA02-L-14-336/merged2b_s6b_b61k",
    "coca_ViT-L-14/laion2b_s13b_b90k",
    "convnext_large_d_320/laion2b_s29b_b131k_ft",
    "ViTamin-L-336/datacomp1b",
)
OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the weights of every tag; it holds only what is read of it."""
    path = tmp_path / "weights.safetensors"
    save_file({"logit_scale": torch.tensor(4.7), "logit_bias": torch.tensor(-12.9)}, path)
    for module in ("pretrained", "factory"):
        monkeypatch.setattr(f"open_clip.{module}.download_pretrained", lambda *_, **__: str(path))
    return path


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_and_a_file_with_a_tag_have_open_clips_own_preprocessing(
    name: str, weights: Path
) -> None:
    architecture, _, tag = name.partition("/")
    with torch.device("meta"):  # no memory is taken and nothing is computed
        model, _, transform = open_clip.create_model_and_transforms(
            architecture, tag, load_weights=False, device="meta"
        )
    expected = to_jsonable_python(model.visual.preprocess_cfg)
    if isinstance(expected["size"], int):
        expected["size"] = [expected["size"]] * 2
    of_tag = resolve_encoder(name, "fp32", "cpu").identity
    of_file = resolve_encoder(f"{name}:{weights}", "fp32", "cpu").identity
    assert of_tag.preprocess == of_file.preprocess == expected
    assert of_tag == of_file
    last = transform.transforms[-1]
    assert isinstance(last, Normalize)
    assert (list(last.mean), list(last.std)) == (expected["mean"], expected["std"])


def test_the_compared_tags_are_of_every_kind_of_preprocessing(weights: Path) -> None:
    def kind(architecture: str, tag: str) -> str:
        options = open_clip.get_pretrained_cfg(architecture, tag)
        return str([options[key] for key in ("mean", "std", "interpolation", "resize_mode")])

    compared = {kind(*name.split("/")) for name in TAGS}
    assert compared == {kind(*pair) for pair in list_pretrained()}
    assert len(compared) >= 7


def register(folder: Path, monkeypatch: pytest.MonkeyPatch, **tags: dict[str, object]) -> None:
    """Make the tiny model an architecture of open_clip, with tags that have these options."""
    (folder / "tiny-for-test.json").write_text(json.dumps(TINY_CONFIG))
    open_clip.add_model_config(folder)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-for-test", tags)


SQUASHED: dict[str, object] = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.5, 0.75),
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


@pytest.mark.parametrize("form", ["tiny-for-test/webli:{}", "tiny-for-test:{}"])
def test_a_file_is_embedded_as_its_tag_says(
    form: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, monkeypatch, webli=SQUASHED)
    weights = tiny_model / "open_clip_model.safetensors"
    source = resolve_encoder(form.format(weights), "fp32", "cpu")
    encoder = load_encoder(source)
    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-for-test",
        str(weights),
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.25, 0.5, 0.75),
        image_interpolation="bilinear",
        image_resize_mode="squash",
    )
    image = photograph()
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(image)[None], normalize=True)
        _, _, usual = open_clip.create_model_and_transforms("tiny-for-test", str(weights))
        wrong = model.encode_image(usual(image)[None], normalize=True)
    pixels = torch.from_numpy(np.array(encoder.resize_image(image)))[None]
    torch.testing.assert_close(encoder.encode_images(pixels, 1), expected)
    assert not torch.allclose(expected, wrong, atol=1e-3)


def test_a_file_of_an_architecture_whose_tags_differ_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tiny_model / "open_clip_model.safetensors"
    register(tmp_path, monkeypatch, webli=SQUASHED, laion={"resize_mode": "shortest"})
    with pytest.raises(InputError) as caught:
        resolve_encoder(f"tiny-for-test:{weights}", "fp32", "cpu")
    assert str(caught.value) == (
        f"Weights of tiny-for-test differ in preprocessing or activation, and {weights} does not "
        f"say which it needs: write tiny-for-test/TAG:{weights} with one of webli, laion."
    )
    laion = resolve_encoder(f"tiny-for-test/laion:{weights}", "fp32", "cpu")
    assert laion.identity.preprocess["mean"] == OPENAI_MEAN
    assert laion.identity.preprocess["resize_mode"] == "shortest"


def test_an_architecture_without_tags_has_open_clips_defaults(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, monkeypatch)
    weights = tiny_model / "open_clip_model.safetensors"
    preprocess = resolve_encoder(f"tiny-for-test:{weights}", "fp32", "cpu").identity.preprocess
    model = open_clip.create_model("tiny-for-test", str(weights))
    assert preprocess == to_jsonable_python(model.visual.preprocess_cfg)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-32/openai:{}", "need QuickGELU.*: write ViT-B-32-quickgelu/openai:{}."),
        ("RN50:{}", "need QuickGELU.*: write RN50-quickgelu:{}."),
        ("ViT-B-32/nonsense:{}", "no weights 'nonsense'; open_clip knows: openai, laion400m_e31"),
        (
            "ViT-L-14:{}",
            "ViT-L-14-quickgelu/TAG:{} with one of openai,.* or ViT-L-14/TAG:{} with one of laion",
        ),
        ("ViT-B-32:{}", "write ViT-B-32-quickgelu/TAG:{} with one of openai.* or ViT-B-32/TAG:"),
        ("ViT-H-14-quickgelu:{}", "write ViT-H-14-quickgelu/TAG:{} with one of metaclip.*, dfn5b"),
    ],
)
def test_a_refusal_says_what_to_write(name: str, message: str, weights: Path) -> None:
    with pytest.raises(InputError, match=message.format(weights, weights)):
        resolve_encoder(name.format(weights), "fp32", "cpu")


def test_a_bare_file_is_accepted_only_where_all_tags_agree(weights: Path) -> None:
    accepted = set()
    for architecture in dict(list_pretrained()):
        tags = list_pretrained_tags_by_model(architecture)
        try:
            bare = resolve_encoder(f"{architecture}:{weights}", "fp32", "cpu").identity
        except InputError:
            continue
        accepted.add(architecture)
        for tag in tags:
            named = resolve_encoder(f"{architecture}/{tag}:{weights}", "fp32", "cpu").identity
            assert named == bare
    refused = set(dict(list_pretrained())) - accepted
    assert {"ViT-B-32-quickgelu", "ViT-B-16-SigLIP2", "PE-Core-B-16", "EVA02-L-14"} <= accepted
    assert refused == {
        *("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-bigG-14", "ViT-H-14-quickgelu"),
        # all weights of these need QuickGELU
        *("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-L-14-336", "ViT-H-14-378"),
        "ViT-H-14-worldwide",
    }


def test_logits_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    sigmoid, softmax = {"init_logit_bias": -10}, {}
    scale = pytest.approx(math.exp(4.7), rel=1e-6)
    state = {"logit_scale": torch.tensor([4.7]), "logit_bias": torch.tensor(-12.5)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(wrapped, tmp_path / "a.bin")
    np.savez(tmp_path / "a.npz", **{"params/t": [4.7], "params/b": [-12.5]})
    for name in ("a.safetensors", "a.pt", "old.pt", "a.bin", "a.npz"):
        logits = read_logits(tmp_path / name, sigmoid)
        assert (logits.scale, logits.bias) == (scale, -12.5), name
        assert read_logits(tmp_path / name, softmax).bias is None
    save_file({"logit_scale": torch.tensor(0.0)}, tmp_path / "b.safetensors")
    assert read_logits(tmp_path / "b.safetensors", sigmoid) == Logits(scale=1, bias=0)
    save_file({"weight": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="c.safetensors holds no logit_scale"):
        read_logits(tmp_path / "c.safetensors", softmax)


def test_logits_are_those_of_the_loaded_model(tiny_model: Path) -> None:
    source = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")
    model = load_encoder(source)._text_model
    assert source.logits.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert source.logits.bias is None
    assert resolve_encoder("photo-lite").logits == Logits(scale=100, bias=None)


def test_a_record_says_how_images_and_texts_become_logits(weights: Path) -> None:
    record = resolve_encoder(f"ViT-B-16-SigLIP2/webli:{weights}", "fp32", "cpu").describe()
    preprocess = record["preprocess"]
    assert isinstance(preprocess, dict)
    assert (preprocess["size"], preprocess["resize_mode"]) == ([224, 224], "squash")
    reading = [record[key] for key in ("tokenizer", "cleaning", "context_length")]
    assert reading == ["timm/ViT-B-16-SigLIP2", "canonicalize", 64]
    assert record["logit_scale"] == pytest.approx(math.exp(4.7))
    assert record["logit_bias"] == pytest.approx(-12.9)


def test_texts_are_read_as_open_clip_will_read_them() -> None:
    by_text_cfg = {str(_text_cfg(name)): name for name in open_clip.list_models()}
    names = [name for text, name in by_text_cfg.items() if "hf_tokenizer_name" not in text]
    assert len({_text_cfg(name).get("context_length") for name in names}) > 1
    for name in names:
        reading = find_text_reading(name, open_clip.get_model_config(name))
        tokenizer = open_clip.get_tokenizer(name)
        assert reading == TextReading(
            tokenizer="CLIP's", cleaning="lower", context_length=tokenizer.context_length
        )
        assert tokenizer.clean_fn is open_clip.tokenizer.get_clean_fn("lower")
    siglip = find_text_reading("ViT-B-16-SigLIP", {"text_cfg": {"context_length": 64}})
    assert siglip == TextReading(tokenizer="SigLIP's", cleaning="canonicalize", context_length=64)


def _text_cfg(architecture: str) -> dict[str, object]:
    options: dict[str, object] = open_clip.get_model_config(architecture)["text_cfg"]
    return options


def test_a_siglip_reads_texts_as_its_tokenizer_does(siglip_model: Path) -> None:
    source = resolve_encoder(f"local-dir:{siglip_model}", "fp32", "cpu")
    assert source.text_reading == TextReading(
        tokenizer="the folder's", cleaning="canonicalize", context_length=8
    )
    assert source.logits == Logits(scale=10, bias=-10)
    encoder = load_encoder(source)
    rows = encoder.encode_texts(["A Small, red_CAT!", "a small red cat", "a small red dog"])
    assert torch.equal(rows[0], rows[1])
    assert not torch.allclose(rows[1], rows[2])
    tokens = open_clip.get_tokenizer(f"local-dir:{siglip_model}")(["A Cat."])
    assert tokens.tolist() == [[2, 5, 1, 1, 1, 1, 1, 1]]  # the end token also fills the context
    model = open_clip.create_model(f"local-dir:{siglip_model}").eval()
    with torch.inference_mode():
        expected = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_texts(["A Cat."]), expected)


def test_the_tokenizer_in_a_folder_is_part_of_the_identity(
    siglip_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / siglip_model.name
    shutil.copytree(siglip_model, copy)
    first, same = (resolve_encoder(f"local-dir:{f}").identity for f in (siglip_model, copy))
    assert same == first
    file = copy / "tokenizer.json"
    file.write_text(file.read_text().replace('"cat"', '"cow"'))
    assert resolve_encoder(f"local-dir:{copy}").identity.config_digest != first.config_digest


def test_a_text_that_a_siglip_truncates_is_reported(siglip_model: Path) -> None:
    """Its end token is also its padding: a full context does not show whether more was there."""
    encoder = load_encoder(resolve_encoder(f"local-dir:{siglip_model}", "fp32", "cpu"))
    texts = ["cat", "cat " * 7, "cat " * 8, "cat " * 9, "cat " * 50]
    assert encoder.are_truncated(texts) == [False, False, True, True, True]
