"""Encoders, through open_clip only: what an encoder is, how it is named, how it encodes."""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from pickle import UnpicklingError
from typing import Any, cast

import open_clip
import torch
from PIL import Image
from pydantic import JsonValue
from torch.nn.functional import normalize

from tasks.embed.identity import EncoderSource
from tasks.store.digest import even_chunks
from tasks.store.errors import InputError

# Texts are padded to one length, so that any batch of a few hundred is as good as another.
TEXT_BATCH = 128
# parameters of mallopt, from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Encoder:
    """A loaded model: pictures and texts in, L2-normalised float32 embeddings out."""

    def __init__(self, source: EncoderSource) -> None:
        model, _, preprocess = open_clip.create_model_and_transforms(
            source.model_name,
            pretrained=source.pretrained,
            precision=source.identity.precision,
            device=source.device,
            weights_only=True,
        )
        actual = _plain(model.visual.preprocess_cfg)
        if actual != source.identity.preprocess:  # the identity would then name another encoder
            raise InputError(
                f"{source.name} was loaded with preprocessing {actual}, "
                f"not {source.identity.preprocess}: report this as a bug."
            )
        self.device = torch.device(source.device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            source.identity.precision
        ]
        self._model = model.eval()
        # convolutions run about twice as fast on pixels stored channels last
        self._model.visual.to(memory_format=torch.channels_last)
        self._tokenizer = open_clip.get_tokenizer(source.model_name)
        self._geometry, norm = _split(preprocess)
        self._mean = torch.tensor(norm.mean, device=self.device).view(1, -1, 1, 1)
        self._std = torch.tensor(norm.std, device=self.device).view(1, -1, 1, 1)

    def frame(self, image: Image.Image) -> Image.Image:
        """The encoder's own resizing and centre crop of an RGB picture, still as 8-bit pixels."""
        return functools.reduce(lambda picture, step: step(picture), self._geometry, image)

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Embed framed pictures: uint8 `(n, height, width, 3)` to float32 `(n, dim)`, unit rows.

        The batch is cut into even chunks of at most `batch_size`; the cut depends on n alone.
        """
        rows = []
        for chunk in even_chunks(range(len(pixels)), batch_size):
            part = pixels[chunk[0] : chunk[-1] + 1].to(self.device).permute(0, 3, 1, 2)
            # the same arithmetic in the same order as ToTensor and Normalize
            scaled = (part.float().div(255) - self._mean) / self._std
            rows.append(self._model.encode_image(scaled.to(self.dtype)).float())
        return normalize(torch.cat(rows), dim=-1).cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts, cut to the context length with the end token kept: float32 `(n, dim)`."""
        rows = [
            self._model.encode_text(self._tokenizer(list(chunk)).to(self.device)).float()
            for chunk in even_chunks(texts, TEXT_BATCH)
        ]
        return normalize(torch.cat(rows), dim=-1).cpu()

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the context: with room for one token more they fill it."""
        length = self._tokenizer.context_length + 1
        last = self._tokenizer(["", *texts], context_length=length)[:, -1]
        truncated: list[bool] = (last[1:] != last[0]).tolist()
        return truncated


@functools.lru_cache(maxsize=1)
def _load(source_json: str) -> Encoder:
    source = EncoderSource.model_validate_json(source_json)
    try:
        return Encoder(source)
    except InputError:
        raise
    except UnpicklingError as error:
        raise InputError(
            f"The encoder {source.name} cannot be loaded: its file holds more than weights; "
            "convert it to safetensors where you trust it."
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise InputError(f"The encoder {source.name} cannot be loaded: {reason}") from error


def load_encoder(source: EncoderSource) -> Encoder:
    """Load an encoder, once per process; InputError where its weights do not fit."""
    return _load(source.model_dump_json())


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_heap() -> None:
    """Tell glibc to keep freed memory: an encoder asks for the same large blocks again and again.

    Worth a factor of 1.3 to 1.5 here, where each batch would otherwise fault in fresh pages. A
    no-op where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _split(compose: Any) -> tuple[list[Callable[[Image.Image], Image.Image]], Any]:
    """Part an open_clip evaluation transform into what moves pixels and its normalisation."""
    *geometry, to_tensor, norm = compose.transforms
    if "ToTensor" not in type(to_tensor).__name__ or type(norm).__name__ != "Normalize":
        raise InputError(f"Cannot split the encoder's preprocessing {compose}.")
    return geometry, norm


def _plain(config: Any) -> dict[str, JsonValue]:
    """Options with tuples as lists, as JSON would return them."""
    return cast(
        dict[str, JsonValue],
        {k: list(v) if isinstance(v, tuple) else v for k, v in dict(config).items()},
    )
