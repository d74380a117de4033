"""Which encoder embeds images and texts, and how it is run."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


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
        str | None, Field(description="cpu, cuda, cuda:1 ...; by default cuda where there is one.")
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
