"""A loaded encoder: open_clip's model, which embeds images and texts."""

import functools
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from pydantic_core import to_jsonable_python
from torch.nn.functional import normalize

from tasks.embed.identity import CPU_IMAGE_BATCH, EncoderSource
from tasks.embed.sources import has_common_resizing, pair_sides
from tasks.embed.tower import build_tower
from tasks.embed.weights import explain_bad_weights
from tasks.runtime.errors import InputError
from tasks.runtime.heap import release_freed_memory
from tasks.runtime.threads import cores, map_in_threads

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Every batch of texts has as many rows, so that an embedding does not depend on the other texts.
CPU_TEXT_BATCH, CUDA_TEXT_BATCH = 16, 256
# Models that mask padding read texts that are padded to a multiple of so many tokens.
TEXT_STEP = 8
MAX_CUDA_IMAGE_BATCH = 512  # beyond this a GPU is busy anyway


class Encoder:
    """A loaded model: it embeds images and texts as float32 rows of length 1.

    Only images are computed in the number format of the identity. Each text decides many
    predictions and is encoded once, always in float32.
    """

    def __init__(self, source: EncoderSource) -> None:
        precision, preprocess = source.identity.precision, source.identity.preprocess
        self._name = f"{source.name} in {precision}"
        self.device = torch.device(source.device)
        self.dtype = DTYPES[precision]
        # CUDA would otherwise round float32 to ten bits: in convolutions by default, in products
        # where the environment has TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, as some containers do
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        model, transforms = _load_open_clip(source, "fp32")
        *self._resizing, to_tensor, norm = transforms
        if "ToTensor" not in type(to_tensor).__name__ or type(norm).__name__ != "Normalize":
            raise InputError(f"The encoder's preprocessing {transforms} cannot be split.")
        actual = to_jsonable_python(dict(model.visual.preprocess_cfg))
        actual["size"] = pair_sides(actual["size"])
        if actual != preprocess:  # the identity would then name another encoder
            raise InputError(
                f"{source.name} was loaded with preprocessing {actual}, not {preprocess}: report "
                "this as a bug."
            )
        mean, std = torch.tensor(norm.mean), torch.tensor(norm.std)
        # ToTensor and Normalize in one step: pixel * scale + shift
        self._scale = (1 / (255 * std)).view(1, -1, 1, 1).to(self.device)
        self._shift = (-mean / std).view(1, -1, 1, 1).to(self.device)
        is_cpu = self.device.type == "cpu"
        self._text_model = self._image_model = model
        self._tower = build_tower(model.visual, mean, std, self.dtype) if is_cpu else None
        if self._tower is None and precision != "fp32":
            # loaded again and not converted: open_clip chooses its layers by the number format
            self._image_model, _ = _load_open_clip(source, precision)
        if self._tower is not None or self._image_model is not model:
            model.visual = torch.nn.Identity()  # its weights are not needed twice
        # convolutions run about twice as fast on pixels stored channels last
        self._image_model.visual.to(memory_format=torch.channels_last)
        self._tokenizer = open_clip.get_tokenizer(source.model_name)
        height, width = cast(list[int], preprocess["size"])
        self.size_px = (height, width)
        self._dimension = source.identity.dimension
        self._max_batch = sys.maxsize  # images known to fit into the device's memory at once
        self._has_common_resizing = has_common_resizing(preprocess)

    def resize_image(self, image: Image.Image) -> Image.Image:
        """Resize and centre-crop an RGB image to the encoder's input size, in 8-bit pixels."""
        if self._has_common_resizing and image.width == image.height:  # open_clip's result, faster
            return image.resize(self.size_px[::-1], Image.Resampling.BICUBIC)
        return functools.reduce(lambda resized, step: step(resized), self._resizing, image)

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Embed resized images: uint8 `(n, height, width, 3)` to float32 `(n, dim)`.

        They are computed in chunks of `batch_size`, the last one filled up with black: a product of
        one shape computes each of its rows in one way, so an embedding does not depend on the other
        images. Where a chunk does not fit into the memory of a GPU, all later chunks are halved.
        Raises torch.OutOfMemoryError where one image does not fit, and InputError for a NaN or an
        infinite embedding.
        """
        most = min(batch_size, self._max_batch)
        try:
            starts = range(0, len(pixels), most)
            chunks = [_fill_up(pixels[start : start + most], most) for start in starts]
            rows = torch.cat([self._features(chunk) for chunk in chunks])
            return self._check_finite(normalize(rows[: len(pixels)], dim=-1).cpu())
        except torch.OutOfMemoryError:
            if most == 1:
                raise
        # outside the handler, whose traceback would keep the tensors of the failed attempt
        self._max_batch = most // 2
        torch.cuda.empty_cache()
        return self.encode_images(pixels, batch_size)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._tower is not None:
            return self._tower(pixels)
        features: torch.Tensor = self._image_model.encode_image(self.normalize_pixels(pixels))
        return features.float()

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute ToTensor and Normalize of resized images: `(n, 3, height, width)`."""
        values = pixels.to(self.device).permute(0, 3, 1, 2).float()
        return torch.addcmul(self._shift, values, self._scale).to(self.dtype)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts as float32 `(n, dim)`, cut to the context length with the end token kept.

        The number of rows of a batch is fixed and its length follows from each text alone, so an
        embedding does not depend on the other texts. Models that mask padding (Hugging Face's) get
        texts of similar length together. Raises InputError for a NaN or an infinite embedding.
        """
        tokens = self._tokenizer(["", *texts])[1:]  # some tokenizers refuse an empty list
        rows = torch.empty(len(texts), self._dimension)
        is_cuda = self.device.type == "cuda"
        size, workers = (CUDA_TEXT_BATCH, 1) if is_cuda else (CPU_TEXT_BATCH, cores())
        batches = _batch_by_length(self._padded_lengths(tokens), size)

        def encode(batch: tuple[int, list[int]]) -> torch.Tensor:
            length, places = batch
            filled = places + [places[-1]] * (size - len(places))
            with torch.inference_mode():
                part = tokens[filled, :length].to(self.device)
                features: torch.Tensor = self._text_model.encode_text(part)
                return features.float()[: len(places)].cpu()

        encoded = map_in_threads(encode, batches, workers)
        for (_, places), features in zip(batches, encoded, strict=True):
            rows[places] = features
        return self._check_finite(normalize(rows, dim=-1))

    def _check_finite(self, embeddings: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(embeddings).all():
            raise InputError(
                f"The encoder {self._name} computed NaN or infinite embeddings: choose --precision "
                "fp32, or check its weights."
            )
        return embeddings

    @functools.cached_property
    def batch_size(self) -> int:
        """The default number of images that are encoded at once.

        On CUDA a batch takes half of the memory that is free or reserved by this process, judged by
        what a batch of eight takes, rounded down to a power of two.
        """
        if self.device.type != "cuda":
            return CPU_IMAGE_BATCH
        cuda = torch.cuda
        pixels = torch.zeros(8, *self.size_px, 3, dtype=torch.uint8)
        self.encode_images(pixels, 8)  # the first batch also takes the libraries' own memory
        cuda.reset_peak_memory_stats(self.device)
        before = cuda.memory_allocated(self.device)
        self.encode_images(pixels, 8)
        per_image = max(1, (cuda.max_memory_allocated(self.device) - before) // 8)
        free, _ = cuda.mem_get_info(self.device)
        reserved = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        fitting = max(8, min(MAX_CUDA_IMAGE_BATCH, (free + reserved) // (2 * per_image)))
        return 1 << (fitting.bit_length() - 1)

    @functools.cached_property
    def weight_bytes(self) -> int:
        """The bytes of the weights in memory."""
        models = {self._text_model, self._image_model}
        return sum(weights.nbytes for model in models for weights in model.parameters())

    @property
    def is_packed(self) -> bool:
        """Whether weights are arranged for products on the cores of this process."""
        return self._tower is not None

    def _padded_lengths(self, tokens: torch.Tensor) -> list[int]:
        """Count the tokens of each text that the model must read; all unless it masks padding."""
        model = getattr(self._text_model, "text", None)
        context = tokens.shape[1]
        if not isinstance(model, HFTextEncoder):
            return [context] * len(tokens)
        places = torch.arange(1, context + 1) * (tokens != model.config.pad_token_id)
        lengths = places.amax(dim=1).tolist() if len(tokens) else []
        return [min(context, -(-max(1, n) // TEXT_STEP) * TEXT_STEP) for n in lengths]

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether it is longer than the context."""
        # of such a text the end looks different where there is room for one token more
        length = self._tokenizer.context_length
        longer = self._tokenizer(["", *texts], context_length=length + 1)[:, :length]
        differs = longer != self._tokenizer(["", *texts])
        differs &= ~differs[0]  # some tokenizers end every text, padded or not, with a token
        truncated: list[bool] = differs[1:].any(dim=1).tolist()
        return truncated


_LAST: list[tuple[EncoderSource, int]] = []


@functools.lru_cache(maxsize=1)
def _load(source_json: str) -> Encoder:
    source = EncoderSource.model_validate_json(source_json)
    with explain_bad_weights(source.name):
        return Encoder(source)


def load_encoder(source: EncoderSource) -> Encoder:
    """Load an encoder, once per process; raises InputError where its weights do not fit."""
    encoder = _load(source.model_dump_json())
    _LAST[:] = [] if encoder.is_packed else [(source, encoder.weight_bytes)]
    return encoder


def last_encoder() -> tuple[EncoderSource, int] | None:
    """The encoder that this process has loaded last, and the bytes of its weights.

    None where they are packed for the threads of this process.
    """
    return _LAST[0] if _LAST else None


def unload_encoder() -> None:
    """Free the memory of the encoder that this process has loaded."""
    _load.cache_clear()
    release_freed_memory()
    torch.cuda.empty_cache()


def _fill_up(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """Add black images where there are fewer than `count`."""
    if len(pixels) == count:
        return pixels
    return torch.cat([pixels, pixels.new_zeros(count - len(pixels), *pixels.shape[1:])])


def _load_open_clip(source: EncoderSource, precision: str) -> tuple[Any, list[Any]]:
    """Load a model, ready to encode, and the steps of its evaluation transform."""
    # of a file open_clip knows no preprocessing, of everything else its own
    known: Any = source.identity.preprocess if source.is_file else {}
    model, _, preprocess = open_clip.create_model_and_transforms(
        source.model_name,
        pretrained=source.pretrained,
        precision=precision,
        device=source.device,
        image_mean=known.get("mean"),
        image_std=known.get("std"),
        image_interpolation=known.get("interpolation"),
        image_resize_mode=known.get("resize_mode"),
        weights_only=True,
    )
    return model.eval(), preprocess.transforms


def _batch_by_length(lengths: Sequence[int], size: int) -> list[tuple[int, list[int]]]:
    """Group places of equal length into batches of at most `size`: the length, then the places."""
    batches = []
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    for length, group in groupby(by_length, key=lengths.__getitem__):
        places = list(group)
        starts = range(0, len(places), size)
        batches += [(length, places[start : start + size]) for start in starts]
    return batches
