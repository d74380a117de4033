"""Resolve an encoder's name: what open_clip must load, and the encoder's identity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from platformdirs import user_cache_path
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from tasks.datasets.files import read_json
from tasks.embed.identity import (
    EncoderIdentity,
    EncoderSource,
    Logits,
    Precision,
    Resampling,
    TextReading,
)
from tasks.embed.names import (
    HF_HUB_PREFIX,
    LOCAL_DIR_PREFIX,
    PHOTO_LITE,
    parse_open_clip_name,
)
from tasks.embed.photo_lite import CONFIG_NAME, WEIGHTS_NAME, assemble
from tasks.embed.weights import explain_bad_weights, read_logits
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import has_driver, needs_gpu
from tasks.store.digest import digest_of, known_file_digest

# open_clip takes ten seconds to import: functions import it only where it alone knows the answer.
# open_clip's own defaults; loading an encoder checks that open_clip resolved the same values.
PREPROCESS_DEFAULTS = {
    "size": 224,
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
DEFAULT_CONTEXT_LENGTH = 77  # open_clip's, in tokens


class _Model(NamedTuple):
    """A model's names in open_clip, and the options and the file that decide its embeddings."""

    name: str
    pretrained: str | None
    architecture: str
    options: dict[str, Any]  # model_cfg and perhaps preprocess_cfg, as in open_clip_config.json
    weights: Path


def resolve_encoder(
    name: str, precision: Precision | Literal["auto"] = "auto", device: str | None = None
) -> EncoderSource:
    """Find an encoder's configuration and weights, and digest them, without building the model.

    Downloads weights that open_clip knows by tag or hub name if they are not cached yet. Raises
    InputError for an unknown name, for weights that cannot be read or downloaded, for a QuickGELU
    mismatch, and for a file whose architecture leaves its preprocessing open.
    """
    device = device or default_device()
    if name == PHOTO_LITE:
        folder = assemble(user_cache_path("wca-flows"))
        model = _find_in_folder(f"{LOCAL_DIR_PREFIX}{folder}", PHOTO_LITE)
    elif name.startswith(LOCAL_DIR_PREFIX):
        model = _find_in_folder(name, Path(name.removeprefix(LOCAL_DIR_PREFIX)).name)
    elif name.startswith(HF_HUB_PREFIX):
        model = _find_in_hub(name)
    else:
        model = _find_in_open_clip(name)
    config = model.options["model_cfg"]
    identity = EncoderIdentity(
        architecture=model.architecture,
        dimension=config["embed_dim"],
        config_digest=digest_of(_list_deciding(name, config)),
        weights_digest=known_file_digest(model.weights),
        preprocess=_merge_preprocess(config, model.options.get("preprocess_cfg", {})),
        precision=choose_precision(device, config) if precision == "auto" else precision,
    )
    with explain_bad_weights(name):
        # photo-lite was trained without a logit scale: its file holds CLIP's initial value
        logits = Logits() if name == PHOTO_LITE else read_logits(model.weights, config)
    return EncoderSource(
        name=name,
        model_name=model.name,
        pretrained=model.pretrained,
        is_file=model.pretrained == str(model.weights),
        device=device,
        identity=identity,
        text_reading=find_text_reading(model.name, config),
        logits=logits,
    )


def find_text_reading(model_name: str, config: Mapping[str, Any]) -> TextReading:
    """Return the tokenizer, the cleaning and the context length that open_clip will choose.

    model_name: as open_clip gets it. config: the model's, with `text_cfg`.
    """
    options = config["text_cfg"]
    cleaning = options.get("tokenizer_kwargs", {}).get("clean")
    is_folder = model_name.startswith(LOCAL_DIR_PREFIX)
    if name := options.get("hf_tokenizer_name"):
        tokenizer = "the folder's" if is_folder else name
        cleaning = cleaning or "whitespace"
    elif not model_name.startswith((LOCAL_DIR_PREFIX, HF_HUB_PREFIX)) and (
        "siglip" in model_name.lower()
    ):
        tokenizer, cleaning = "SigLIP's", "canonicalize"
    else:
        tokenizer, cleaning = "CLIP's", cleaning or "lower"
    context_length = options.get("context_length", DEFAULT_CONTEXT_LENGTH)
    return TextReading(tokenizer=tokenizer, cleaning=cleaning, context_length=context_length)


def choose_precision(device: str, config: Mapping[str, Any]) -> Precision:
    """Choose the fastest number format that keeps an encoder's predictions on a device.

    Only CLIP's own transformers get less than float32: on a CPU `tasks/embed/tower.py` sums between
    their blocks in float32, and on CUDA they were published in float16. Convolutions in bfloat16
    changed 2 to 3 % of photo-lite's predictions and were hardly faster.
    """
    vision = config["vision_cfg"]
    is_clip_tower = (  # neither CoCa's nor one that averages its tokens
        "timm_model_name" not in vision
        and isinstance(vision.get("layers"), int)  # a ResNet has a list
        and vision.get("pool_type", "tok") == "tok"
        and not vision.get("output_tokens")
    )
    return native_precision(device) if is_clip_tower else "fp32"


def native_precision(device: str) -> Precision:
    """Return the fastest number format that a device computes without emulation.

    On CUDA it is float16, as in the published runs; on a CPU bfloat16 if the CPU has instructions
    for it.
    """
    import torch

    if needs_gpu(device):
        return "fp16"
    able = torch.cpu.get_capabilities() if device == "cpu" else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def resampling_for(source: EncoderSource, is_exact: bool) -> Resampling:
    """Choose who resizes crops: a CUDA device, unless Pillow is requested or necessary."""
    on_device = needs_gpu(source.device) and not is_exact
    return "device" if on_device and has_common_resizing(source.identity.preprocess) else "pillow"


def has_common_resizing(preprocess: dict[str, JsonValue]) -> bool:
    """Tell whether RGB images are resized to a shortest side, bicubic, and cut to a square."""
    common = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}
    size = preprocess["size"]
    is_square = isinstance(size, list) and size[0] == size[1]
    return is_square and preprocess.items() >= common.items()


def default_device() -> str:
    """Return `cuda` where there is one, else `cpu`."""
    if not has_driver():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _find_in_open_clip(name: str) -> _Model:
    """Resolve `ARCHITECTURE/TAG`, `ARCHITECTURE/TAG:/path` or `ARCHITECTURE:/path`."""
    import open_clip
    from open_clip import pretrained

    config = open_clip.get_model_config(name.partition(":")[0].partition("/")[0])
    parsed = parse_open_clip_name(name, config is not None, pretrained)
    architecture, tag, weights, options = parsed
    if not tag:
        options = _find_common_options(architecture, config, name.partition(":")[2])
    _check_quick_gelu(name, architecture, config, options)
    both = {"model_cfg": config, "preprocess_cfg": options}
    if weights:
        return _Model(architecture, str(weights), architecture, both, weights)
    try:
        weights = Path(pretrained.download_pretrained(options))
    except Exception as error:  # the hub's client raises many types when a host is out of reach
        raise InputError(
            f"The weights of {name} are neither cached nor can be downloaded: copy them here and "
            f"write {name}:/path/to/weights."
        ) from error
    return _Model(architecture, tag, architecture, both, weights)


def _find_common_options(architecture: str, config: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the options that all tags of an architecture share; none where it has no tags.

    Raises InputError, with the tags to choose from, where they differ in preprocessing or in the
    activation: a file does not say which it needs.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    known = {tag: open_clip.get_pretrained_cfg(architecture, tag) for tag in tags}
    decisive = [
        (_merge_preprocess(config, options), bool(options.get("quick_gelu")))
        for options in known.values()
    ]
    if all(one == decisive[0] for one in decisive):
        return next(iter(known.values()), {})
    by_architecture: dict[str, list[str]] = {}
    for tag, options in known.items():
        by_architecture.setdefault(_match_activation(architecture, options), []).append(tag)
    choices = " or ".join(
        f"{name}/TAG:{path} with one of {', '.join(names)}"
        for name, names in by_architecture.items()
    )
    raise InputError(
        f"Weights of {architecture} differ in preprocessing or activation, and {path} does not say "
        f"which it needs: write {choices}."
    )


def _check_quick_gelu(name: str, architecture: str, config: Any, options: Any) -> None:
    """Refuse weights trained with the other activation: it costs points (ImageNet 68.3 to 64.4)."""
    wants_quick = bool(options.get("quick_gelu"))
    other = _match_activation(architecture, options)
    if options and other != architecture and wants_quick != bool(config.get("quick_gelu")):
        raise InputError(
            f"The weights {name!r} need {'QuickGELU' if wants_quick else 'GELU'}, which "
            f"{architecture} does not use: write {other}{name.removeprefix(architecture)}."
        )


def _match_activation(architecture: str, options: Mapping[str, Any]) -> str:
    """Name the form of an architecture that has the activation of a tag; itself if it is alone."""
    import open_clip

    other = architecture.removesuffix("-quickgelu")
    other += "-quickgelu" if options.get("quick_gelu") else ""
    return other if other in open_clip.list_models() else architecture


def _find_in_folder(name: str, architecture: str) -> _Model:
    """Resolve a folder with open_clip_config.json and weights."""
    folder = Path(name.removeprefix(LOCAL_DIR_PREFIX)).expanduser()
    options = read_json(folder / CONFIG_NAME)
    weights: Any = folder / WEIGHTS_NAME  # the file that open_clip prefers
    if not weights.is_file():
        from open_clip.factory import _find_checkpoint_in_dir  # loading will choose the same file

        weights = _find_checkpoint_in_dir(folder)
    if not isinstance(options, dict) or "model_cfg" not in options or weights is None:
        raise InputError(f"{folder} holds no {CONFIG_NAME} with model_cfg, or no weights.")
    return _Model(name, None, architecture, options, Path(weights))


def _find_in_hub(name: str) -> _Model:
    from open_clip.factory import _get_hf_config  # as open_clip.get_model_config, but whole
    from open_clip.pretrained import download_pretrained_from_hf

    identifier = name.removeprefix(HF_HUB_PREFIX)
    try:
        options = _get_hf_config(identifier)
        weights = Path(download_pretrained_from_hf(identifier))
    except Exception as error:  # as above
        raise InputError(
            f"{name} is neither cached nor can be downloaded: check the name and the network."
        ) from error
    return _Model(name, None, identifier, options, weights)


def pair_sides(size: int | Sequence[int]) -> Sequence[int]:
    """Return height and width; open_clip writes one number for square images of some models."""
    return [size, size] if isinstance(size, int) else size


def _merge_preprocess(config: dict[str, Any], options: dict[str, Any]) -> dict[str, JsonValue]:
    """Return the preprocessing that open_clip will resolve from the same options."""
    chosen = {key: options[key] for key in PREPROCESS_DEFAULTS if options.get(key) is not None}
    chosen["size"] = pair_sides(config["vision_cfg"].get("image_size", 224))
    merged: dict[str, JsonValue] = to_jsonable_python({**PREPROCESS_DEFAULTS, **chosen})
    return merged


def _list_deciding(name: str, config: dict[str, Any]) -> Any:
    """Return the configuration and, where a folder holds the tokenizer, the digests of its files.

    photo-lite's folder holds copies of files that the configuration names.
    """
    named = _replace_folders_by_digests(config)
    if not (name.startswith(LOCAL_DIR_PREFIX) and config["text_cfg"].get("hf_tokenizer_name")):
        return named
    folder = Path(name.removeprefix(LOCAL_DIR_PREFIX)).expanduser()
    files = [
        path
        for pattern in ("*.json", "*.txt", "*.model")
        for path in sorted(folder.glob(pattern))
        if path.name != CONFIG_NAME
    ]
    return [named, {path.name: known_file_digest(path) for path in files}]


def _replace_folders_by_digests(config: Any) -> Any:
    """Replace folders of this machine in a configuration by the digests of their files."""
    if isinstance(config, dict):
        return {key: _replace_folders_by_digests(value) for key, value in config.items()}
    if isinstance(config, str) and Path(config).is_absolute() and Path(config).is_dir():
        return {path.name: known_file_digest(path) for path in sorted(Path(config).glob("*.json"))}
    return config
