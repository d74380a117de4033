"""Which encoder embeds images and texts, and how it is run."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field


def _check_device(given: str | None) -> str | None:
    """Return a device that may be there; what else torch knows is no place for an encoder."""
    if given is not None and not re.fullmatch(r"(cpu|mps|xpu|cuda)(:\d+)?", given):
        raise ValueError(f"{given!r} is no device: write cpu, cuda or, of several GPUs, cuda:1")
    return given


class EncoderSettings(BaseModel):
    """Parameters of the encoder; none of the last three decides a number."""

    encoder: Annotated[
        str,
        Field(
            description="photo-lite, ARCHITECTURE/TAG (ViT-B-32-quickgelu/openai), "
            "ARCHITECTURE/TAG:/path/to/weights, hf-hub:ORG/MODEL or local-dir:/path."
        ),
    ] = "photo-lite"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="Number format; auto: the fastest that keeps the encoder's predictions."),
    ] = "auto"
    device: Annotated[
        str | None,
        AfterValidator(_check_device),
        Field(description="cpu, cuda, cuda:1 ...; by default cuda where there is one."),
    ] = None
    exact: Annotated[bool, Field(description="Crops by Pillow, to the bit, on a GPU as well.")] = (
        False
    )
    batch_size: Annotated[
        int | None,
        Field(ge=1, description="Views encoded at once on a GPU; by default what fits into it."),
    ] = None
    recompute: Annotated[
        bool,
        Field(description="Compute embeddings again that other code of this revision computed."),
    ] = False
    shard_size: Annotated[int, Field(ge=1, description="Images per task and table, about.")] = 1000
