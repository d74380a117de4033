"""How encoders are resolved, distinguished, refused, and how they encode."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import _build_vision_tower
from safetensors.torch import load_file, save_file

from tasks.embed.encoder import Encoder, load_encoder
from tasks.embed.identity import Precision
from tasks.embed.sources import (
    PREPROCESS_DEFAULTS,
    choose_precision,
    native_precision,
    resampling_for,
    resolve_encoder,
)
from tasks.embed.tower import is_clip_tower
from tasks.runtime.errors import InputError
from tasks.store.digest import file_digest
from tests.conftest import TINY_CONFIG, photograph, write_tiny_model


def test_an_identity_names_the_weights_and_the_preprocessing(tiny_model: Path) -> None:
    identity = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu").identity
    assert identity.weights_digest == file_digest(tiny_model / "open_clip_model.safetensors")
    assert identity.preprocess["mean"] == [0.5, 0.4, 0.3]
    assert identity.preprocess["size"] == [32, 32]
    assert identity.dimension == 32


def test_weights_precision_and_preprocessing_make_another_identity(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu").identity
    half = resolve_encoder(f"local-dir:{tiny_model}", "bf16", "cpu").identity
    other = write_tiny_model(tmp_path / tiny_model.name, seed=1)
    weights = resolve_encoder(f"local-dir:{other}", "fp32", "cpu").identity
    shutil.copytree(tiny_model, tmp_path / "copy" / tiny_model.name)
    copy = tmp_path / "copy" / tiny_model.name
    assert resolve_encoder(f"local-dir:{copy}", "fp32", "cpu").identity == base
    options = {"model_cfg": TINY_CONFIG, "preprocess_cfg": {"interpolation": "bilinear"}}
    (copy / "open_clip_config.json").write_text(json.dumps(options))
    resampled = resolve_encoder(f"local-dir:{copy}", "fp32", "cpu").identity
    options = json.loads((tiny_model / "open_clip_config.json").read_text())
    options["model_cfg"]["quick_gelu"] = True
    (copy / "open_clip_config.json").write_text(json.dumps(options))
    activated = resolve_encoder(f"local-dir:{copy}", "fp32", "cpu").identity
    identities = {i.model_dump_json() for i in (base, half, weights, resampled, activated)}
    assert len(identities) == 5


def test_the_files_of_a_tokenizer_decide_the_identity_not_their_folder(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)

    def digest(folder: Path, content: str) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(content)
        options = {"model_cfg": {**TINY_CONFIG, "text_cfg": {"hf_model_name": str(folder)}}}
        (model / "open_clip_config.json").write_text(json.dumps(options))
        return resolve_encoder(f"local-dir:{model}", "fp32", "cpu").identity.config_digest

    first = digest(tmp_path / "here", "{}")
    assert digest(tmp_path / "there", "{}") == first
    assert digest(tmp_path / "here", "{ }") != first


def test_the_assumed_preprocessing_is_open_clips_own() -> None:
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg

    defaults = {
        k: list(v) if isinstance(v, tuple) else v for k, v in asdict(PreprocessCfg()).items()
    }
    assert defaults == PREPROCESS_DEFAULTS


def test_an_architecture_with_a_local_checkpoint_loads(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-for-test.json").write_text(json.dumps(TINY_CONFIG))
    open_clip.add_model_config(tmp_path)
    weights = tiny_model / "open_clip_model.safetensors"
    source = resolve_encoder(f"tiny-for-test:{weights}", "fp32", "cpu")
    assert source.identity.preprocess["mean"] == PREPROCESS_DEFAULTS["mean"]
    rows = load_encoder(source).encode_texts(["a photo of a cat.", "a photo of a dog."])
    assert rows.shape == (2, 32)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))

    checkpoint = tmp_path / "checkpoint.pt"
    torch.save(load_file(weights), checkpoint)
    again = load_encoder(resolve_encoder(f"tiny-for-test:{checkpoint}", "fp32", "cpu"))
    torch.testing.assert_close(again.encode_texts(["a photo of a cat."]), rows[:1])


class _Payload:
    """What a hostile checkpoint holds: code that runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / "tiny-for-test.json").write_text(json.dumps(TINY_CONFIG))
    open_clip.add_model_config(tmp_path)
    hostile = tmp_path / "hostile.pt"
    torch.save({"state_dict": _Payload(tmp_path / "ran")}, hostile)
    with pytest.raises(InputError, match="holds more than weights"):
        load_encoder(resolve_encoder(f"tiny-for-test:{hostile}", "fp32", "cpu"))
    assert not (tmp_path / "ran").exists()


def test_long_texts_are_cut_with_the_end_token_kept(tiny_model: Path) -> None:
    encoder = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    tokens = encoder._tokenizer(["word " * 300])
    end = encoder._tokenizer.eot_token_id
    assert tokens.shape == (1, 77)
    assert tokens[0, -1] == end
    assert torch.isfinite(encoder.encode_texts(["word " * 300])).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "Unknown encoder 'nonsense': write photo-lite, ARCHITECTURE/TAG"),
        ("ViT-B-32", "Unknown encoder 'ViT-B-32'"),
        ("ViT-B-32/nonsense", "ViT-B-32 has no weights 'nonsense'; open_clip knows: .*openai"),
        ("ViT-B-32/openai", "need QuickGELU.*: write ViT-B-32-quickgelu/openai"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "has no weights"),
        ("ViT-B-32:/no/such/file", "/no/such/file do not exist"),
        ("local-dir:/no/such/folder", "Cannot read"),
        ("ViT-B-32-quickgelu/openai", "neither cached nor can be downloaded"),
        ("hf-hub:nobody/nothing", "neither cached nor can be downloaded"),
    ],
)
def test_an_error_about_a_wrong_name_says_what_to_write(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=message):
        resolve_encoder(name, "fp32", "cpu")


def test_weights_for_another_architecture_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    wider = {**TINY_CONFIG, "vision_cfg": {**TINY_CONFIG["vision_cfg"], "width": 64}}
    (tmp_path / "wider-for-test.json").write_text(json.dumps(wider))
    open_clip.add_model_config(tmp_path)
    weights = tiny_model / "open_clip_model.safetensors"
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(resolve_encoder(f"wider-for-test:{weights}", "fp32", "cpu"))


@pytest.mark.parametrize("native", ["bf16", "fp32"])
def test_the_automatic_precision_is_one_that_runs(
    native: Precision, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.embed.sources.native_precision", lambda _: native)
    source = resolve_encoder(f"local-dir:{tiny_model}", "auto", "cpu")
    assert source.identity.precision == native
    exact = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    texts = ["a cat", "a dog"]
    loaded = load_encoder(source)
    torch.testing.assert_close(loaded.encode_texts(texts), exact.encode_texts(texts))
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    cosines = (loaded.encode_images(pixels, 8) * exact.encode_images(pixels, 8)).sum(dim=1)
    assert cosines.min() > 0.9999


def test_a_convolutional_encoder_is_float32_unless_requested_otherwise() -> None:
    assert resolve_encoder("photo-lite", "auto", "cpu").identity.precision == "fp32"
    assert resolve_encoder("photo-lite", "bf16", "cpu").identity.precision == "bf16"
    assert choose_precision("cpu", {"vision_cfg": {"layers": [3, 4, 6, 3]}}) == "fp32"
    assert choose_precision("cuda", {"vision_cfg": {"layers": [3, 4, 6, 3]}}) == "fp32"
    assert choose_precision("cuda", open_clip.get_model_config("ViT-B-32")) == "fp16"


def test_a_half_format_is_the_default_only_for_clip_towers() -> None:
    """The configuration alone decides, before a model is built, for all models of open_clip."""
    chosen = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        if "timm_model_name" in vision:
            assert choose_precision("cpu", config) == "fp32"
            continue
        with torch.device("meta"):
            visual = _build_vision_tower(config["embed_dim"], vision, config.get("quick_gelu"))
        chosen[name] = choose_precision("cpu", config)
        assert chosen[name] == (native_precision("cpu") if is_clip_tower(visual) else "fp32"), name
    assert {"ViT-B-32", "RN50", "coca_ViT-B-32", "ViT-L-14-CLIPA"} <= chosen.keys()


def test_texts_longer_than_the_context_are_truncated(tiny_model: Path) -> None:
    encoder = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    # CLIP's tokenizer puts a token before and one after the text: 75 words of one token fit in 77
    texts = ["a cat", "cat " * 75, "cat " * 76, "cat " * 500]
    assert encoder.are_truncated(texts) == [False, False, True, True]
    assert encoder.are_truncated([]) == []
    rows = encoder.encode_texts(texts)
    torch.testing.assert_close(rows[2], rows[3])  # the rest plays no part


def test_photo_lite_reports_truncated_texts_too() -> None:
    encoder = load_encoder(resolve_encoder("photo-lite", "fp32", "cpu"))
    length = encoder._tokenizer.context_length
    texts = ["cat " * (length - 2), "cat " * (length - 1)]
    assert encoder.are_truncated(texts) == [False, True]


def test_square_images_are_resized_to_the_last_bit_at_any_size(tiny_model: Path) -> None:
    encoder = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_model}")
    for side in (1, 2, 31, 32, 33, 64, 97, 201):
        square = photograph().crop((5, 7, 5 + side, 7 + side))
        resized = torch.from_numpy(np.array(encoder.resize_image(square))).permute(2, 0, 1)
        assert torch.equal(preprocess.transforms[-1](resized.float().div(255)), preprocess(square))


@pytest.mark.parametrize(
    "options",
    [{"resize_mode": "squash"}, {"interpolation": "bilinear"}, {"resize_mode": "longest"}],
)
def test_other_preprocessing_is_left_to_open_clip_and_to_pillow(
    options: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    text = json.dumps({"model_cfg": TINY_CONFIG, "preprocess_cfg": options})
    (folder / "open_clip_config.json").write_text(text)
    source = resolve_encoder(f"local-dir:{folder}", "fp32", "cpu")
    assert resampling_for(source.model_copy(update={"device": "cuda"}), False) == "pillow"
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    for image in (photograph(), photograph().crop((0, 0, 90, 90))):
        resized = np.array(load_encoder(source).resize_image(image))
        scaled = torch.from_numpy(resized).permute(2, 0, 1).float().div(255)
        assert torch.equal(preprocess.transforms[-1](scaled), preprocess(image))


def test_a_gpu_resizes_crops_unless_pillow_is_requested(tiny_model: Path) -> None:
    source = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")
    cuda = source.model_copy(update={"device": "cuda:1"})
    assert resampling_for(source, False) == "pillow"
    assert resampling_for(cuda, False) == "device"
    assert resampling_for(cuda, True) == "pillow"


@pytest.mark.parametrize("name", ["photo-lite", "tiny"])
def test_a_texts_row_does_not_depend_on_the_others_nor_on_padding(
    name: str, tiny_model: Path
) -> None:
    name = name if name == "photo-lite" else f"local-dir:{tiny_model}"
    encoder = load_encoder(resolve_encoder(name, "fp32", "cpu"))
    texts = [f"a photo of a {'very ' * (n % 23)}small cat {n}." for n in range(40)]
    together = encoder.encode_texts(texts)
    assert torch.equal(encoder.encode_texts(texts[::-1]), together.flip(0))
    for n in (0, 7, 22):
        assert torch.equal(encoder.encode_texts([texts[n]])[0], together[n])
    with torch.inference_mode():  # padded to the whole context, all at once
        plain = encoder._text_model.encode_text(encoder._tokenizer(texts))
    error = 1 - torch.nn.functional.cosine_similarity(plain.double(), together.double())
    assert error.abs().max() < 1e-6


def test_no_texts_have_no_rows(tiny_model: Path) -> None:
    encoder = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    assert encoder.encode_texts([]).shape == (0, 32)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_texts_are_the_same_in_every_number_format_of_images(
    precision: Precision, tiny_model: Path
) -> None:
    sources = [
        resolve_encoder(f"local-dir:{tiny_model}", name, "cpu") for name in ("fp32", precision)
    ]
    exact, half = (Encoder(source) for source in sources)
    texts = ["a cat", "a small dog"]
    assert torch.equal(exact.encode_texts(texts), half.encode_texts(texts))
    assert sources[0].identity.of_texts() == sources[1].identity.of_texts()
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    rows, others = exact.encode_images(pixels, 4), half.encode_images(pixels, 4)
    assert not torch.equal(rows, others)
    assert (rows * others).sum(dim=1).min() > 0.999


def test_a_nan_or_infinite_embedding_aborts_the_run(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "open_clip_model.safetensors"
    state = load_file(weights)
    state["visual.proj"] = state["visual.proj"] * torch.inf
    state["text_projection"] = state["text_projection"] * torch.nan
    save_file(state, weights)
    encoder = Encoder(resolve_encoder(f"local-dir:{broken}", "fp32", "cpu"))
    with pytest.raises(InputError, match="broken in fp32 computed NaN or infinite embeddings"):
        encoder.encode_images(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), 8)
    with pytest.raises(InputError, match="choose --precision fp32, or check its weights"):
        encoder.encode_texts(["a cat"])


@pytest.mark.parametrize(
    ("free_gb", "own_gb", "expected"),
    [(0.01, 0.0, 8), (1.0, 0.5, 64), (1.0, 1.0, 128), (80, 0, 512)],
)
def test_a_gpus_batch_is_a_power_of_two_that_takes_half_of_its_memory(
    free_gb: float, own_gb: float, expected: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arithmetic alone, with 6 MB per image; the figures of a GPU's memory are invented."""
    encoder = Encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    weights_gb = 0.3
    figures = {
        "reset_peak_memory_stats": None,
        "memory_allocated": int(weights_gb * 1e9),
        "max_memory_allocated": int((weights_gb + 8 * 0.006) * 1e9),
        "memory_reserved": int((weights_gb + own_gb) * 1e9),
        "mem_get_info": (int(free_gb * 1e9), int(80e9)),
    }
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    monkeypatch.setattr(encoder, "encode_images", lambda pixels, _: pixels)
    monkeypatch.setattr(encoder, "device", torch.device("cuda"))
    assert encoder.batch_size == expected


def test_float32_is_not_rounded_by_the_convolutions_of_cuda(tiny_model: Path) -> None:
    torch.backends.cudnn.allow_tf32 = True  # as it is at first
    Encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_truncated_weights_are_reported_in_a_sentence(tiny_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tiny_model, cut)
    weights = cut / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be loaded: .*incomplete"):
        load_encoder(resolve_encoder(f"local-dir:{cut}", "fp32", "cpu"))
