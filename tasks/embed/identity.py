"""What an encoder is and how to load it here; without torch, so that cached runs start fast."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

Precision = Literal["fp32", "bf16", "fp16"]
# Who resizes crops. `pillow`: as the encoder was trained, to the last bit. `device`: as batches of
# matrix products where the encoder runs, within 2/255 of Pillow.
Resampling = Literal["pillow", "device"]


class EncoderIdentity(BaseModel):
    """Everything that decides an encoder's embeddings, part of the name of every table of them.

    `config_digest` covers the architecture and the tokenizer's files, `preprocess` the size,
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
        """The identity of texts' embeddings, which are float32 whatever pictures' are."""
        return self.model_copy(update={"precision": "fp32"})


class EncoderSource(BaseModel):
    """How to load an encoder here: names for open_clip, the place to run, and what it must be."""

    model_config = ConfigDict(frozen=True)

    name: str
    model_name: str
    pretrained: str | None
    device: str
    identity: EncoderIdentity


def is_reference(encoder: EncoderIdentity, resampling: Resampling) -> bool:
    """Whether embeddings are the reference themselves, which is stored as it is."""
    return encoder.precision == "fp32" and resampling == "pillow"
