"""From an encoder's name to what open_clip must be given, and to the encoder's identity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from tasks.datasets.files import read_json
from tasks.embed.identity import EncoderIdentity, EncoderSource, Precision, Resampling
from tasks.embed.photo_lite import WEIGHTS_NAME, assemble
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of, file_digest

# open_clip takes ten seconds to import: only the names that it alone can resolve wait for it.
HF_HUB_PREFIX, LOCAL_DIR_PREFIX = "hf-hub:", "local-dir:"
# open_clip's own defaults; loading an encoder checks that it arrived at the same values.
PREPROCESS_DEFAULTS = {
    "size": 224,
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
PHOTO_LITE = "photo-lite"
FORMS = (
    "photo-lite, ARCHITECTURE/TAG (ViT-B-32-quickgelu/openai), ARCHITECTURE:/path/to/weights, "
    "hf-hub:ORGANISATION/MODEL or local-dir:/path/to/folder"
)


def resolve_encoder(
    name: str,
    precision: Precision | Literal["auto"] = "auto",
    device: str | None = None,
) -> EncoderSource:
    """Find an encoder's configuration and weights, and digest them, without building the model.

    Downloads weights that open_clip knows by tag or hub name where they are not cached yet. Raises
    InputError for an unknown name, weights out of reach, or a QuickGELU mismatch.
    """
    device = device or default_device()
    if name == PHOTO_LITE:
        folder = assemble(default_cache())
        found = _from_folder(f"{LOCAL_DIR_PREFIX}{folder}", PHOTO_LITE, folder / WEIGHTS_NAME)
    elif name.startswith(LOCAL_DIR_PREFIX):
        found = _from_folder(name, Path(name.removeprefix(LOCAL_DIR_PREFIX)).name)
    elif name.startswith(HF_HUB_PREFIX):
        found = _from_hub(name)
    else:
        found = _from_registry(name)
    model_name, pretrained, architecture, config, preprocess, weights = found
    identity = EncoderIdentity(
        architecture=architecture,
        dimension=config["embed_dim"],
        config_digest=digest_of(_portable(config)),
        weights_digest=file_digest(weights),
        preprocess=_preprocess(config, preprocess),
        precision=default_precision(device, config) if precision == "auto" else precision,
    )
    return EncoderSource(
        name=name, model_name=model_name, pretrained=pretrained, device=device, identity=identity
    )


def default_precision(device: str, config: Mapping[str, Any]) -> Precision:
    """The fastest number format that keeps an encoder's predictions on a device.

    Less than float32 is for CLIP's own transformers alone, whose sums between blocks are float32 on
    a CPU (`tasks/embed/tower.py`) and which were published in float16 on CUDA, but not for CoCa's
    nor those that pool by an average. Convolutions in bfloat16 changed 2 to 3 % of photo-lite's
    predictions and made it hardly faster.
    """
    vision = config["vision_cfg"]
    is_clips_own = (
        "timm_model_name" not in vision
        and isinstance(vision.get("layers"), int)  # a list of a ResNet's
        and vision.get("pool_type", "tok") == "tok"
        and not vision.get("output_tokens")
    )
    return native_precision(device) if is_clips_own else "fp32"


def native_precision(device: str) -> Precision:
    """The fastest number format that the device computes natively.

    On a CPU bfloat16 where there are instructions for it, else float32 (emulation is slower than
    float32); on CUDA float16, as in the published runs.
    """
    import torch

    if device.startswith("cuda"):
        return "fp16"
    if device == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("avx512_bf16") or able.get("amx_bf16"):
            return "bf16"
    return "fp32"


def resampling_for(source: EncoderSource, is_exact: bool) -> Resampling:
    """Who resizes crops: the device where it is CUDA, unless Pillow is asked for or needed."""
    on_device = source.device.startswith("cuda") and not is_exact
    return "device" if on_device and resizes_ordinarily(source.identity.preprocess) else "pillow"


def resizes_ordinarily(preprocess: dict[str, JsonValue]) -> bool:
    """Whether images are resized to a shortest side, bicubic, and cut to a square, in colours."""
    ordinary = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}
    size = preprocess["size"]
    is_square = isinstance(size, list) and size[0] == size[1]
    return is_square and all(preprocess[key] == value for key, value in ordinary.items())


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_cache() -> Path:
    """Where assembled encoders are kept between runs."""
    from platformdirs import user_cache_path

    return user_cache_path("wca-flows")


# model_name, pretrained, architecture, model configuration, preprocessing, weights
_Found = tuple[str, str | None, str, dict[str, Any], dict[str, Any], Path]


def _from_registry(name: str) -> _Found:
    """`ARCHITECTURE/TAG` or `ARCHITECTURE:/path`."""
    architecture, separator, rest = name.partition(":")
    path = Path(rest).expanduser() if separator else None
    if path is None:
        architecture, _, rest = name.partition("/")
    import open_clip
    from open_clip.pretrained import download_pretrained

    config = open_clip.get_model_config(architecture)
    if config is None or not rest:
        raise InputError(f"Unknown encoder {name!r}: write {FORMS}.")
    if path is not None:
        if not path.is_file():
            raise InputError(f"The encoder's weights {path} do not exist.")
        return architecture, str(path), architecture, config, {}, path
    tag = open_clip.get_pretrained_cfg(architecture, rest)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise InputError(f"{architecture} has no weights {rest!r}; open_clip knows: {tags}.")
    _check_quick_gelu(architecture, rest, config, tag)
    try:
        weights = Path(download_pretrained(tag))
    except Exception as error:  # the hub's client raises many types when a host is out of reach
        raise InputError(
            f"The weights of {name} are neither cached nor can be downloaded: copy them here and "
            f"write {architecture}:/path/to/weights."
        ) from error
    return architecture, rest, architecture, config, tag, weights


def _check_quick_gelu(architecture: str, tag_name: str, config: Any, tag: Any) -> None:
    """Weights trained with one activation lose points under the other (ImageNet 68.3 to 64.4)."""
    wants, has = bool(tag.get("quick_gelu")), bool(config.get("quick_gelu"))
    if wants == has:
        return
    plain = architecture.removesuffix("-quickgelu")
    other = f"{plain}-quickgelu" if wants else plain
    raise InputError(
        f"The weights {tag_name!r} need {'QuickGELU' if wants else 'GELU'}, which {architecture} "
        f"does not use: write {other}/{tag_name}."
    )


def _from_folder(model_name: str, architecture: str, weights: Path | None = None) -> _Found:
    """A folder with open_clip_config.json and weights; those are looked for if not given."""
    folder = Path(model_name.removeprefix(LOCAL_DIR_PREFIX)).expanduser()
    options = read_json(folder / "open_clip_config.json")
    if weights is None:
        from open_clip.factory import _find_checkpoint_in_dir  # the choice that loading will make

        found = _find_checkpoint_in_dir(folder)
        weights = Path(found) if found else None
    if not isinstance(options, dict) or "model_cfg" not in options or weights is None:
        raise InputError(f"{folder} holds no open_clip_config.json with model_cfg, or no weights.")
    preprocess = options.get("preprocess_cfg", {})
    return model_name, None, architecture, options["model_cfg"], preprocess, weights


def _from_hub(model_name: str) -> _Found:
    from open_clip.factory import _get_hf_config  # as open_clip.get_model_config, but whole
    from open_clip.pretrained import download_pretrained_from_hf

    identifier = model_name.removeprefix(HF_HUB_PREFIX)
    try:
        options = _get_hf_config(identifier)
        weights = Path(download_pretrained_from_hf(identifier))
    except Exception as error:  # as above
        raise InputError(
            f"{model_name} is neither cached nor can be downloaded: check the name and the network."
        ) from error
    preprocess = options.get("preprocess_cfg", {})
    return model_name, None, identifier, options["model_cfg"], preprocess, weights


def _preprocess(config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing that open_clip will arrive at from the same ingredients."""
    given = {key: options[key] for key in PREPROCESS_DEFAULTS if options.get(key) is not None}
    merged = {**PREPROCESS_DEFAULTS, **given}
    size = config["vision_cfg"].get("image_size", 224)
    merged["size"] = list(size) if isinstance(size, list | tuple) else [size, size]
    return {key: list(v) if isinstance(v, tuple) else v for key, v in merged.items()}


def _portable(config: Any) -> Any:
    """A configuration with folders of this machine replaced by the digests of their files."""
    if isinstance(config, dict):
        return {key: _portable(value) for key, value in config.items()}
    if isinstance(config, str) and Path(config).is_absolute() and Path(config).is_dir():
        files = sorted(p for p in Path(config).glob("*.json"))
        return {path.name: file_digest(path) for path in files}
    return config
