"""What is installed and reachable here, and what to do about each gap."""

import importlib.util
import os
import platform
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache

from tasks.datasets.named.cards import ROOT_VARIABLE, named_cards
from tasks.datasets.named.cards import data_root as resolve_root
from tasks.datasets.sources import open_dataset
from tasks.embed.sources import PHOTO_LITE, default_device, native_precision, resolve_encoder
from tasks.runtime.errors import InputError
from tasks.store.runs import library_versions, read_runs
from tasks.store.tables import Store

# The encoder of the published table that most people start with, and where its weights come from.
FIRST_CLIP = "ViT-B-32-quickgelu/openai"
FIRST_CLIP_HUB = "timm/vit_base_patch32_clip_224.openai"


class Check(NamedTuple):
    """One thing looked at."""

    what: str
    is_ok: bool
    found: str
    advice: str = ""


def examine(store: str | Path, data_root: Path | None = None) -> list[Check]:
    """Every check, none of which changes anything or goes to the network."""
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    device = default_device()
    return [
        Check("Python", True, platform.python_version()),
        Check("packages", True, versions),
        Check(
            "device",
            True,
            f"{device}, {native_precision(device)}, {torch.get_num_threads()} threads",
        ),
        _photo_lite(),
        _clip_weights(),
        _demo_data(),
        _data_root(data_root),
        *_named_data(data_root),
        _hugging_face(),
        _key(),
        _prefect(),
        _results(Store(store)),
    ]


def _photo_lite() -> Check:
    try:
        identity = resolve_encoder(PHOTO_LITE).identity
    except InputError as error:
        return Check(PHOTO_LITE, False, str(error), "run `make install`")
    return Check(PHOTO_LITE, True, f"weights {identity.weights_digest[:12]}")


def _clip_weights() -> Check:
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    cached = [
        name for name in names if isinstance(try_to_load_from_cache(FIRST_CLIP_HUB, name), str)
    ]
    if cached:
        return Check(FIRST_CLIP, True, "cached")
    architecture = FIRST_CLIP.partition("/")[0]
    advice = f"the first run downloads it; offline, copy the file and use {architecture}:PATH"
    return Check(FIRST_CLIP, False, "not cached", advice)


def _demo_data() -> Check:
    try:
        dataset = open_dataset("sixteen-photographs")
    except InputError as error:
        return Check("sixteen-photographs", False, str(error), "run `make install`")
    return Check("sixteen-photographs", True, f"{len(dataset.images)} images")


def _data_root(given: Path | None) -> Check:
    root = resolve_root(given)
    advice = f"set {ROOT_VARIABLE} or --data-root to where your data sets are"
    return Check("data root", root.is_dir(), str(root), "" if root.is_dir() else advice)


def _named_data(given: Path | None) -> list[Check]:
    """Every data set of the published tables, and how to get those that are missing."""
    root = resolve_root(given)
    places = [(card, card.locate(root)) for card in named_cards()]
    checks = [
        Check(card.name, True, str(place))
        if place
        else Check(card.name, False, f"no {card.layout[0]}", card.get)
        for card, place in places
        if card.group != "extra"
    ]
    found = [card.name for card, place in places if card.group == "extra" and place]
    return [*checks, Check("further data sets", True, ", ".join(found) or "none (wca datasets)")]


def _hugging_face() -> Check:
    if importlib.util.find_spec("datasets"):
        return Check("hf: data sets", True, "datasets is installed")
    return Check("hf: data sets", False, "not installed", "pip install 'wca-flows[hf]'")


def _key() -> Check:
    """Whether there is a key, never what it is."""
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return Check("language model", True, "OPENAI_API_KEY or OPENAI_BASE_URL is set")
    return Check(
        "language model", False, "no key", "set OPENAI_API_KEY, or bring description files"
    )


def _prefect() -> Check:
    url = os.environ.get("PREFECT_API_URL")
    found = url or "no server: each command starts its own for as long as it runs"
    return Check("Prefect", True, found)


def _results(store: Store) -> Check:
    runs = len(read_runs(store))
    return (
        Check("store", True, f"{runs} runs in {store.root}")
        if runs
        else Check("store", False, f"{store.root} holds no runs", "run `wca demo`")
    )
