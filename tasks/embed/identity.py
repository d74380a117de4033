"""What an encoder is and how to load it here; without torch, so that cached runs start fast."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

Precision = Literal["fp32", "bf16", "fp16"]
# Who resizes crops. `pillow`: as the encoder was trained, to the last bit. `device`: matrix
# products where the encoder runs, within 2/255 of Pillow.
Resampling = Literal["pillow", "device"]


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


class EncoderSource(BaseModel):
    """How to load an encoder here: its names in open_clip, the device, and what it must be."""

    model_config = ConfigDict(frozen=True)

    name: str
    model_name: str
    pretrained: str | None
    device: str
    identity: EncoderIdentity


def is_reference(encoder: EncoderIdentity, resampling: Resampling) -> bool:
    """Tell whether embeddings are the reference itself: float32, with crops by Pillow."""
    return encoder.precision == "fp32" and resampling == "pillow"
