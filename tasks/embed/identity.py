"""What an encoder is and how to load it here; without torch, so that cached runs start fast."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

Precision = Literal["fp32", "bf16", "fp16"]
# Who resizes crops. `pillow`: as the encoder was trained, to the last bit. `device`: matrix
# products where the encoder runs, within 2/255 of Pillow.
Resampling = Literal["pillow", "device"]
# Images that a CPU encodes at once; fixed, since an embedding depends on it by rounding. Per core,
# ViT-B-32 is within a tenth of its best rate from 8 to 101 images, and convolutional encoders are
# slower with more.
CPU_IMAGE_BATCH = 8


class EncoderIdentity(BaseModel):
    """Everything that decides an encoder's embeddings, part of the name of every table of them.

    `config_digest` covers the architecture and the tokenizer's files; `preprocess` is the size,
    resampling and normalisation of images.
    """

    model_config = ConfigDict(frozen=True)

    architecture: str
    dimension: int
    config_digest: str
    weights_digest: str
    preprocess: dict[str, JsonValue]
    precision: Precision

    def of_texts(self) -> Self:
        """Return the identity of text embeddings, which are float32 in every precision."""
        return self.model_copy(update={"precision": "fp32"})


class TextReading(BaseModel):
    """How an encoder reads texts; the identity's `config_digest` covers it.

    `cleaning` has open_clip's names: `lower`, `whitespace`, or `canonicalize`, which also removes
    punctuation. `context_length` counts tokens, with those that mark the ends.
    """

    model_config = ConfigDict(frozen=True)

    tokenizer: str
    cleaning: str
    context_length: int


class Logits(BaseModel):
    """How cosines become logits: `scale` x cosine + `bias`; learned, and part of the weights.

    Probabilities are a softmax over classes where there is no bias, and else a sigmoid for each
    class, as in SigLIP. The default is for encoders that were trained without logits: CLIP's scale.
    """

    model_config = ConfigDict(frozen=True)

    scale: float = 100.0
    bias: float | None = None


class EncoderSource(BaseModel):
    """How to load an encoder here: its names in open_clip, the device, and what it must be.

    is_file: whether `pretrained` is a path; open_clip then takes the preprocessing it is told.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    model_name: str
    pretrained: str | None
    is_file: bool
    device: str
    identity: EncoderIdentity
    text_reading: TextReading
    logits: Logits

    def describe(self) -> dict[str, JsonValue]:
        """Return what a run's record says of the encoder: the identity, texts and logits."""
        return {
            **self.identity.model_dump(mode="json"),
            **self.text_reading.model_dump(),
            **{f"logit_{name}": value for name, value in self.logits},
        }


def is_reference(encoder: EncoderIdentity, resampling: Resampling) -> bool:
    """Tell whether embeddings are the reference itself: float32, with crops by Pillow."""
    return encoder.precision == "fp32" and resampling == "pillow"
