"""Encoders, through open_clip only: what an encoder is, how it is named, how it encodes."""

import functools
import sys
from collections.abc import Callable, Sequence
from pickle import UnpicklingError
from typing import Any, cast

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from pydantic import JsonValue
from safetensors import SafetensorError
from torch.nn.functional import normalize

from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resizes_ordinarily
from tasks.embed.tower import tower_for
from tasks.runtime.errors import InputError
from tasks.runtime.heap import release_freed_memory
from tasks.runtime.threads import cores, map_in_threads
from tasks.store.digest import even_chunks

# Texts encoded at once, always as many: a text's row does not depend on which others there are.
TEXT_BATCH = {"cpu": 16, "cuda": 256}
# Where a tower reads texts that are padded less, they are padded to a multiple of so many tokens.
TEXT_STEP = 8


class Encoder:
    """A loaded model: pictures and texts in, L2-normalised float32 embeddings out.

    Only pictures are computed in the number format that is asked for: every text decides many
    predictions and is encoded once, in float32.
    """

    def __init__(self, source: EncoderSource) -> None:
        self.device = torch.device(source.device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            source.identity.precision
        ]
        # CUDA's convolutions would otherwise round float32 to ten bits
        torch.backends.cudnn.allow_tf32 = False
        model, preprocess = _open_clip(source, "fp32")
        self._geometry, norm = _split(preprocess)
        mean, std = torch.tensor(norm.mean), torch.tensor(norm.std)
        actual = _plain(model.visual.preprocess_cfg)
        if actual != source.identity.preprocess:  # the identity would then name another encoder
            raise InputError(
                f"{source.name} was loaded with preprocessing {actual}, "
                f"not {source.identity.preprocess}: report this as a bug."
            )
        is_cpu = self.device.type == "cpu"
        self._name = f"{source.name} in {source.identity.precision}"
        self._texts = self._pictures = model
        self._tower = tower_for(model.visual, mean, std, self.dtype) if is_cpu else None
        if self._tower is None and self.dtype is not torch.float32:
            # loaded again and not converted: open_clip picks its layers by the number format
            self._pictures, _ = _open_clip(source, source.identity.precision)
        if self._tower is not None or self._pictures is not model:
            model.visual = torch.nn.Identity()  # its weights are not needed twice
        # convolutions run about twice as fast on pixels stored channels last
        self._pictures.visual.to(memory_format=torch.channels_last)
        self._tokenizer = open_clip.get_tokenizer(source.model_name)
        # of ToTensor and Normalize in one: pixel * scale + shift
        self._scale = (1 / (255 * std)).view(1, -1, 1, 1).to(self.device)
        self._shift = (-mean / std).view(1, -1, 1, 1).to(self.device)
        height, width = cast(list[int], source.identity.preprocess["size"])
        self.size_px = (height, width)
        self._dimension = source.identity.dimension
        self._most = sys.maxsize  # pictures that are known to fit a GPU's memory at once
        self._is_ordinary = resizes_ordinarily(source.identity.preprocess)

    def frame(self, image: Image.Image) -> Image.Image:
        """The encoder's own resizing and centre crop of an RGB picture, still as 8-bit pixels."""
        if self._is_ordinary and image.width == image.height:  # the same, without the layers around
            return image.resize(self.size_px[::-1], Image.Resampling.BICUBIC)
        return functools.reduce(lambda picture, step: step(picture), self._geometry, image)

    def encode_images(self, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Embed framed pictures: uint8 `(n, height, width, 3)` to float32 `(n, dim)`, unit rows.

        The batch is cut into even chunks of at most `batch_size`; the cut depends on n alone. Where
        a GPU's memory is too small for a chunk, this and all later ones are halved, down to one
        picture; raises torch.OutOfMemoryError where that does not fit either, and InputError where
        the number format overflows.
        """
        most = min(batch_size, self._most)
        try:
            return self._encode_images(pixels, most)
        except torch.OutOfMemoryError:
            if most == 1:
                raise
        # outside the handler, whose traceback would keep the tensors of the failed attempt
        self._most = most // 2
        torch.cuda.empty_cache()
        return self.encode_images(pixels, batch_size)

    @torch.inference_mode()
    def _encode_images(self, pixels: torch.Tensor, most: int) -> torch.Tensor:
        rows: list[torch.Tensor] = [
            self._features(pixels[part[0] : part[-1] + 1])
            for part in even_chunks(range(len(pixels)), most)
        ]
        return self._numbers(normalize(torch.cat(rows), dim=-1).cpu())

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._tower is not None:
            return self._tower(pixels)
        features: torch.Tensor = self._pictures.encode_image(self.scaled(pixels))
        return features.float()

    def scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """What ToTensor and Normalize make of framed pictures: `(n, 3, height, width)`."""
        values = pixels.to(self.device).permute(0, 3, 1, 2).float()
        return torch.addcmul(self._shift, values, self._scale).to(self.dtype)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts, cut to the context length with the end token kept: float32 `(n, dim)`.

        Every batch has the same number of rows, the last one filled up, and its length follows from
        each text alone, so that a row does not depend on the other texts. Towers that mask padding
        (Hugging Face's) get texts of like length together, with little padding.
        """
        tokens = self._tokenizer(["", *texts])[1:]  # some tokenizers refuse an empty list
        rows = torch.empty(len(texts), self._dimension)
        size = TEXT_BATCH["cuda" if self.device.type == "cuda" else "cpu"]
        batches = _alike(self._padded_lengths(tokens), size)

        def encode(batch: tuple[int, list[int]]) -> torch.Tensor:
            length, places = batch
            filled = places + [places[-1]] * (size - len(places))
            with torch.inference_mode():
                part = tokens[filled, :length].to(self.device)
                found: torch.Tensor = self._texts.encode_text(part)
                return found.float()[: len(places)].cpu()

        workers = 1 if self.device.type == "cuda" else cores()
        for (_, places), part in zip(
            batches, map_in_threads(encode, batches, workers), strict=True
        ):
            rows[places] = part
        return self._numbers(normalize(rows, dim=-1))

    def _numbers(self, rows: torch.Tensor) -> torch.Tensor:
        """The same rows; InputError where one holds an infinity or no number."""
        if not torch.isfinite(rows).all():
            raise InputError(
                f"{self._name} gives embeddings that are no numbers: choose --precision fp32, or "
                "check its weights."
            )
        return rows

    @functools.cached_property
    def batch_size(self) -> int:
        """Pictures encoded at once where nothing else is asked for.

        On a CPU 8: per core, ViT-B-32 is within a tenth of its best from 8 to 101, a convolutional
        encoder is slower with more, and more only takes more memory. On CUDA as many as take half
        of the memory that is free or this process's own, by what a batch of eight takes, as a power
        of two from 8 to 512: beyond that a GPU is busy anyway.
        """
        if self.device.type != "cuda":
            return 8
        cuda = torch.cuda
        cuda.reset_peak_memory_stats(self.device)
        before = cuda.memory_allocated(self.device)
        self.encode_images(torch.zeros(8, *self.size_px, 3, dtype=torch.uint8), 8)
        each = max(1, (cuda.max_memory_allocated(self.device) - before) // 8)
        free, _ = cuda.mem_get_info(self.device)
        kept = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        fitting = max(8, min(512, (free + kept) // (2 * each)))
        return 1 << (fitting.bit_length() - 1)

    def _padded_lengths(self, tokens: torch.Tensor) -> list[int]:
        """So many tokens of each text the tower must read, in steps; by default the context."""
        tower = getattr(self._texts, "text", None)
        context = tokens.shape[1]
        if not isinstance(tower, HFTextEncoder):
            return [context] * len(tokens)
        places = torch.arange(1, context + 1) * (tokens != tower.config.pad_token_id)
        lengths = places.amax(dim=1).tolist() if len(tokens) else []
        return [min(context, -(-max(1, n) // TEXT_STEP) * TEXT_STEP) for n in lengths]

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
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise InputError(f"The encoder {source.name} cannot be loaded: {reason}") from error


def load_encoder(source: EncoderSource) -> Encoder:
    """Load an encoder, once per process; InputError where its weights do not fit."""
    return _load(source.model_dump_json())


def unload_encoder() -> None:
    """Give back the memory of the encoder that this process has loaded."""
    _load.cache_clear()
    release_freed_memory()
    torch.cuda.empty_cache()


def _open_clip(source: EncoderSource, precision: str) -> tuple[Any, Any]:
    """A model, ready to encode, and its evaluation transform."""
    model, _, preprocess = open_clip.create_model_and_transforms(
        source.model_name,
        pretrained=source.pretrained,
        precision=precision,
        device=source.device,
        weights_only=True,
    )
    return model.eval(), preprocess


def _split(compose: Any) -> tuple[list[Callable[[Image.Image], Image.Image]], Any]:
    """Part an open_clip evaluation transform into what moves pixels and its normalisation."""
    *geometry, to_tensor, norm = compose.transforms
    if "ToTensor" not in type(to_tensor).__name__ or type(norm).__name__ != "Normalize":
        raise InputError(f"Cannot split the encoder's preprocessing {compose}.")
    return geometry, norm


def _alike(lengths: Sequence[int], size: int) -> list[tuple[int, list[int]]]:
    """Batches of at most `size` places of equal length: the length, then the places."""
    groups: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        groups.setdefault(length, []).append(place)
    return [
        (length, places[start : start + size])
        for length, places in sorted(groups.items())
        for start in range(0, len(places), size)
    ]


def _plain(config: Any) -> dict[str, JsonValue]:
    """Options with tuples as lists, as JSON would return them."""
    return cast(
        dict[str, JsonValue],
        {k: list(v) if isinstance(v, tuple) else v for k, v in dict(config).items()},
    )
