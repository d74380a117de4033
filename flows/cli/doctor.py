"""`wca doctor`: what is installed and reachable here, and how to get what is missing."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, cast

from flows.cli.console import print_unwrapped
from flows.cli.options import DataRootOption, StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.checkout import INSTALL, advise_extra
from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of

# The encoder of the published table that most people start with, and where its weights come from.
FIRST_CLIP = "ViT-B-32-quickgelu/openai"
FIRST_CLIP_HUB = "timm/vit_base_patch32_clip_224.openai"
NO_SERVER = "none is named: commands start one, share it, and it ends by itself"


class Check(NamedTuple):
    """A thing that was looked for; `advice` says what to do where it is missing."""

    subject: str
    result: str
    advice: str = ""


def doctor(
    *,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = None,
    encoder: str = "photo-lite",
) -> None:
    """Say what is installed, which weights, keys and data are there, and what to do about gaps.

    Example: wca doctor --encoder ViT-B-16-SigLIP2/webli:/path/to/weights.safetensors

    Parameters
    ----------
    encoder
        The encoder whose preprocessing, text reading and logits are shown; nothing is downloaded.

    """
    # none of these changes anything or uses the network
    checks = [
        Check("Python", platform.python_version()),
        *_check_libraries(),
        *_check_encoder(encoder),
        _check_clip_weights(),
        _check_photographs(),
        *_check_data_sets(data_root),
        _check_hugging_face(),
        _check_language_model(),
        Check("Prefect", os.environ.get("PREFECT_API_URL") or NO_SERVER),
        _check_store(store),
    ]
    width = max(len(check.subject) for check in checks)
    for subject, result, advice in checks:  # in lines: a path in a narrow column is broken
        print_unwrapped(f"{'gap' if advice else 'ok':<4} {subject:<{width}}  {result}")
        if advice:
            print_unwrapped(f"{'':<{width + 7}}{advice}")


def _check_libraries() -> list[Check]:
    import torch

    from tasks.embed.sources import default_device, native_precision
    from tasks.store.runs import library_versions

    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    device = default_device()
    speed = f"{device}, {native_precision(device)}, {torch.get_num_threads()} threads"
    return [Check("packages", versions), Check("device", speed)]


def _check_encoder(name: str) -> list[Check]:
    """Look for an encoder; say what it does to images, to texts and to cosines."""
    from tasks.embed.names import PHOTO_LITE
    from tasks.embed.sources import resolve_encoder

    try:
        with _forbid_downloads():
            source = resolve_encoder(name)
    except InputError as error:
        download = "a run downloads the weights of a tag or a hub name"
        return [Check(name, str(error), INSTALL if name == PHOTO_LITE else download)]
    preprocess, reading, logits = source.identity.preprocess, source.text_reading, source.logits
    height, width = cast(list[int], preprocess["size"])
    shown = [
        f"{name.replace('_', ' ')} {preprocess[name]}"
        for name in ("resize_mode", "interpolation", "mean", "std")
    ]
    texts = (
        f"tokenizer {reading.tokenizer}",
        f"cleaning {reading.cleaning}",
        f"context length {reading.context_length}",
    )
    has_bias = logits.bias is not None
    bias = f"logit bias {logits.bias:g}: sigmoid" if has_bias else "no logit bias: softmax"
    return [
        Check(name, f"weights {source.identity.weights_digest[:12]}"),
        Check("preprocessing", ", ".join([f"size {height} x {width}", *shown])),
        Check("text reading", ", ".join(texts)),
        Check("logits", f"logit scale {logits.scale:g}, {bias}"),
    ]


@contextmanager
def _forbid_downloads() -> Iterator[None]:
    """Let the hub's client find only what is cached."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _check_clip_weights() -> Check:
    from huggingface_hub import try_to_load_from_cache

    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(FIRST_CLIP_HUB, name), str) for name in names):
        return Check(FIRST_CLIP, "cached")
    advice = f"the first run downloads it; offline, copy the file and use {FIRST_CLIP}:PATH"
    return Check(FIRST_CLIP, "not cached", advice)


def _check_photographs() -> Check:
    from tasks.datasets.sources import open_dataset

    name = "sixteen-photographs"
    try:
        dataset = open_dataset(name)
    except InputError as error:
        return Check(name, str(error), INSTALL)
    return Check(name, f"{len(dataset.images)} images")


def _check_data_sets(data_root: Path | None) -> list[Check]:
    """Look for the data root and every named data set below it."""
    from tasks.datasets.named.cards import ROOT_VARIABLE, named_cards
    from tasks.datasets.named.cards import data_root as resolve_root

    root = resolve_root(data_root)
    advice = f"set {ROOT_VARIABLE} or --data-root to where your data sets are"
    checks = [Check("data root", str(root), "" if root.is_dir() else advice)]
    extra = []
    for card in named_cards():
        place = card.locate(root)
        if card.group == "extra":
            extra += [card.name] if place else []
        elif place:
            checks.append(Check(card.name, str(place)))
        else:
            checks.append(Check(card.name, f"no {card.layout[0]}", card.get))
    names = ", ".join(extra) or "none (wca datasets)"
    return [*checks, Check("further data sets", names)]


def _check_hugging_face() -> Check:
    if find_spec("datasets"):
        return Check("hf: data sets", "datasets is installed")
    return Check("hf: data sets", "not installed", advise_extra("hf"))


def _check_language_model() -> Check:
    """Look for a key or an address, and show neither."""
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return Check("language model", "OPENAI_API_KEY or OPENAI_BASE_URL is set")
    advice = "set OPENAI_API_KEY, or bring description files"
    return Check("language model", "no key", advice)


def _check_store(root: str | Path) -> Check:
    from tasks.store.damage import list_damage
    from tasks.store.records import read_records, run_files
    from tasks.store.tables import Store

    store = Store(root)
    records = read_records(store, run_files(store))
    if runs := {*records.manifests, *(path.parent for path in records.damaged)}:
        state = f"{count_of(len(runs), 'run')} in {store.root}"
        if damage := list_damage(store, records):
            return Check("store", f"{state}, {len(damage)} of them damaged", "run `wca store ls`")
        return Check("store", state)
    return Check("store", f"{store.root} holds no runs", "run `wca demo`")
