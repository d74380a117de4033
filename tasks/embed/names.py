"""The names of open_clip's encoders, checked in a moment: open_clip takes seconds to import."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tasks.datasets.files import package_folder, read_json
from tasks.embed.photo_lite import CONFIG_NAME
from tasks.runtime.errors import InputError

HF_HUB_PREFIX, LOCAL_DIR_PREFIX = "hf-hub:", "local-dir:"
PHOTO_LITE = "photo-lite"
FORMS = (
    "photo-lite, ARCHITECTURE/TAG (ViT-B-32-quickgelu/openai), ARCHITECTURE/TAG:/path/to/weights, "
    "ARCHITECTURE:/path/to/weights, hf-hub:ORGANISATION/MODEL or local-dir:/path/to/folder"
)
# The package's files under another name: importing them so does not import the package.
_COPY = "_wca_open_clip"


class OpenClipName(NamedTuple):
    """A name in its parts: an architecture with a tag, a file of weights, or both.

    options: open_clip's of the tag; empty without one.
    """

    architecture: str
    tag: str
    weights: Path | None
    options: dict[str, Any]


def parse_open_clip_name(name: str, is_architecture: bool, pretrained: Any) -> OpenClipName:
    """Split `ARCHITECTURE/TAG`, `ARCHITECTURE/TAG:/path` or `ARCHITECTURE:/path`.

    is_architecture: whether open_clip knows the architecture. pretrained: open_clip's module of
    tags. Raises InputError for an unknown architecture or tag, and for a file that is missing.
    """
    start, _, path = name.partition(":")
    architecture, _, tag = start.partition("/")
    if not is_architecture or not (path or tag):
        raise InputError(f"Unknown encoder {name!r}: write {FORMS}.")
    weights = Path(path).expanduser().absolute()  # a bare name could be a tag to open_clip
    if path and not weights.is_file():
        raise InputError(f"The encoder's weights {weights} do not exist.")
    options = pretrained.get_pretrained_cfg(architecture, tag) if tag else {}
    if tag and not options:
        tags = ", ".join(pretrained.list_pretrained_tags_by_model(architecture)) or "none"
        raise InputError(f"{architecture} has no weights {tag!r}; open_clip knows: {tags}.")
    return OpenClipName(architecture, tag, weights if path else None, options)


def check_encoder_name(name: str) -> None:
    """Raise InputError for a name that no encoder has, without importing torch.

    What only a hub or the weights can tell is left to `resolve_encoder`.
    """
    if name == PHOTO_LITE or name.startswith(HF_HUB_PREFIX):
        return
    if name.startswith(LOCAL_DIR_PREFIX):
        read_json(Path(name.removeprefix(LOCAL_DIR_PREFIX)).expanduser() / CONFIG_NAME)
        return
    architecture = name.partition(":")[0].partition("/")[0]
    if library := sys.modules.get("open_clip"):  # it may know architectures that were added to it
        known = library.get_model_config(architecture) is not None
        parse_open_clip_name(name, known, library.pretrained)
        return
    config = package_folder("open_clip") / "model_configs" / f"{architecture}.json"
    parse_open_clip_name(name, config.is_file(), _import_tags())


def _import_tags() -> Any:
    """Import open_clip's list of tags from its file, alone: neither open_clip nor torch."""
    if _COPY not in sys.modules:
        package = ModuleType(_COPY)
        package.__path__ = [str(package_folder("open_clip"))]
        sys.modules[_COPY] = package
    library = "safetensors.torch"  # which imports torch, and which the list itself does not need
    is_hidden = library not in sys.modules
    if is_hidden:
        sys.modules[library] = None  # type: ignore[assignment] # Python's mark of what cannot be imported
    try:
        return importlib.import_module(f"{_COPY}.pretrained")
    finally:
        if is_hidden:
            del sys.modules[library]
