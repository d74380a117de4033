"""Real parts to test with: a small open_clip model, photographs, a Prefect server, a browser."""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["WCA_KEEP_SERVER_SEC"] = "0"  # tests leave no server behind

# Where distributions install it; Playwright's own download is never used.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TINY_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "patch_size": 16,
        "head_width": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}


def write_tiny_model(folder: Path, seed: int) -> Path:
    """An open_clip model with random weights: real code, real shapes, no meaning."""
    from benchmarks.shared.inputs import write_random_model

    write_random_model(folder, TINY_CONFIG, seed, {"mean": [0.5, 0.4, 0.3]})
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=0)


@pytest.fixture(scope="session")
def small(tiny_model: Path) -> dict[str, Any]:
    """Settings of a run that takes seconds."""
    return {
        "encoder": f"local-dir:{tiny_model}",
        "precision": "fp32",
        "device": "cpu",
        "pool": 6,
        "crops": 4,
        "runs": 3,
    }


def write_siglip_model(folder: Path) -> Path:
    """A small model of SigLIP's kind: a bias, squashed images, canonical texts, its own tokenizer.

    The end token is also the padding, as in SigLIP.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "</s>", "a", "small", "red", "cat", "dog"]
    unknown, end = words[:2]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, words.index(end))]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unknown, eos_token=end, pad_token=end
    ).save_pretrained(folder)
    text = {
        "context_length": 8,
        "vocab_size": len(words),
        "hf_tokenizer_name": "of the folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    config = {**TINY_CONFIG, "text_cfg": text, "init_logit_bias": -10, "custom_text": True}
    options = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(options))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    model.logit_scale.data.fill_(math.log(10))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def siglip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_siglip_model(tmp_path_factory.mktemp("models") / "siglip")


def photograph(package_file: str = "chelsea.png") -> Image.Image:
    """A photograph that scikit-image ships."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / package_file) as image:
        return image.convert("RGB")


def write_photos(root: Path) -> Path:
    """Two classes of six JPEG files each, cut from two photographs, and two files that are none."""
    for folder, source in (("big_cat", "chelsea.png"), ("drink", "coffee.png")):
        (root / folder).mkdir(parents=True)
        image = photograph(source)
        for i in range(6):
            part = image.crop((20 * i, 10 * i, 20 * i + 160 + 8 * i, 10 * i + 120))
            part.save(root / folder / f"{i}.jpg", quality=90)
    whole = (root / "drink" / "0.jpg").read_bytes()
    (root / "drink" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "drink" / "empty.jpg").write_bytes(b"")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@contextmanager
def running_prefect(storage: Path) -> Iterator[dict[str, str]]:
    """A real Prefect server while the block runs, and the environment of who uses it.

    storage: the folder of results.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings(
            {PREFECT_LOCAL_STORAGE_PATH: storage, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        ),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield {
            "PREFECT_API_URL": PREFECT_API_URL.value(),
            "PREFECT_LOCAL_STORAGE_PATH": str(storage),
            "HF_HUB_OFFLINE": "1",
        }


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One real Prefect server for the session, with results in a folder that goes with it."""
    with running_prefect(tmp_path_factory.mktemp("prefect")) as environment:
        yield environment


@pytest.fixture(scope="module")  # the main thread has a running event loop as long as it is open
def browser() -> Iterator["Browser"]:
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("Chromium is not installed: `apt-get install chromium` to run this test")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        yield browser
        browser.close()
