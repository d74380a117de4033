"""CLIP's image tower for CPUs: open_clip's weights and results, arranged for oneDNN."""

from typing import NamedTuple, Self, TypeGuard

import torch
from open_clip.transformer import (
    LayerScale,
    QuickGELU,
    ResidualAttentionBlock,
    VisionTransformer,
)
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention

# QuickGELU(x) = x * sigmoid(1.702 x) = swish(1.702 x) / 1.702, and oneDNN knows swish.
QUICK_GELU = 1.702
# Pixels are taken around the middle: whole numbers that bfloat16 holds, and sums that stay small.
MIDDLE = 128


class Layer(NamedTuple):
    """A linear layer whose weights oneDNN has packed, and what is computed on its way out."""

    weight: Tensor
    bias: Tensor
    after: str = "none"

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, dtype: torch.dtype, after: str = "none") -> Self:
        """Pack weights `(out, in)` for products in a number format."""
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        return cls(packed, bias.detach().to(dtype), after)

    def __call__(self, rows: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`."""
        # "none" is also how exactly GELU is computed: by the error function
        algorithm = "none" if self.after == "gelu" else ""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.weight, self.bias, self.after, [], algorithm
        )
        return product


class Norm(NamedTuple):
    """A layer norm over float32 rows."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, norm: nn.LayerNorm) -> Self:
        """Take over a module's parameters."""
        return cls(norm.weight.detach().float(), norm.bias.detach().float(), norm.eps)

    def __call__(self, rows: Tensor) -> Tensor:
        """`(..., width)` to the same."""
        return layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps)


class Block(NamedTuple):
    """A transformer block: attention, then two layers, each added to what came in."""

    before_attention: Norm
    query: Layer
    key_value: Layer
    out: Layer
    before_mlp: Norm
    widen: Layer
    narrow: Layer

    @classmethod
    def of(cls, block: ResidualAttentionBlock, dtype: torch.dtype) -> Self:
        """Pack a block; scales of layers and of QuickGELU become part of the weights."""
        attention, after_attention, mlp = block.attn, block.attn.out_proj, block.mlp
        width = attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        is_quick = isinstance(mlp.gelu, QuickGELU)
        factor = QUICK_GELU if is_quick else 1.0
        after = "swish" if is_quick else "gelu"
        first, last = _scale(block.ls_1), _scale(block.ls_2)
        return cls(
            before_attention=Norm.of(block.ln_1),
            query=Layer.of(weight[:width], bias[:width], dtype),
            key_value=Layer.of(weight[width:], bias[width:], dtype),
            out=Layer.of(
                after_attention.weight * first.view(-1, 1), after_attention.bias * first, dtype
            ),
            before_mlp=Norm.of(block.ln_2),
            widen=Layer.of(mlp.c_fc.weight * factor, mlp.c_fc.bias * factor, dtype, after),
            narrow=Layer.of(
                mlp.c_proj.weight * (last / factor).view(-1, 1), mlp.c_proj.bias * last, dtype
            ),
        )


class Tower:
    """What a VisionTransformer makes of 8-bit pixels, up to rounding.

    Differences to open_clip's forward pass: normalisation is part of the patch embedding, weights
    are packed once instead of for every product, GELU is computed while a product's rows are still
    in the cache, sums between blocks are float32 whatever the number format, and of the last block
    only the class token is computed, for no other is looked at.
    """

    def __init__(
        self, visual: VisionTransformer, mean: Tensor, std: Tensor, dtype: torch.dtype
    ) -> None:
        weight = visual.conv1.weight.detach().float()
        self._patch_px = visual.conv1.kernel_size[0]
        scale = (1 / (255 * std)).view(1, 3, 1, 1)
        shift = ((MIDDLE / 255 - mean) / std).view(1, 3, 1, 1)
        patch = (weight * scale).permute(0, 2, 3, 1).flatten(1)
        self._dtype = dtype
        self._patch = Layer.of(patch, torch.zeros(len(patch)), dtype)
        positions = visual.positional_embedding.detach().float()
        self._class = visual.class_embedding.detach().float() + positions[0]
        self._positions = positions[1:] + (weight * shift).sum(dim=(1, 2, 3))
        self._before = None if isinstance(visual.ln_pre, nn.Identity) else Norm.of(visual.ln_pre)
        self._heads = visual.transformer.resblocks[0].attn.num_heads
        self._blocks = [Block.of(block, dtype) for block in visual.transformer.resblocks]
        self._after = Norm.of(visual.ln_post)
        self._projection = visual.proj.detach().float().T.contiguous()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Embed uint8 `(n, height, width, 3)` as float32 `(n, dim)`, not normalised."""
        tokens = self._embedded(pixels)
        for place, block in enumerate(self._blocks, start=1):
            # the class token comes first
            wanted = 1 if place == len(self._blocks) else tokens.shape[1]
            rows = block.before_attention(tokens).to(self._dtype)
            query = self._by_head(block.query(rows[:, :wanted]))
            key, value = (self._by_head(part) for part in block.key_value(rows).chunk(2, dim=-1))
            attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            tokens = tokens[:, :wanted] + block.out(attended)
            rows = block.before_mlp(tokens).to(self._dtype)
            tokens += block.narrow(block.widen(rows))
        return linear(self._after(tokens[:, 0]), self._projection)

    def _embedded(self, pixels: Tensor) -> Tensor:
        """The class token and one for each patch: float32 `(n, 1 + patches, width)`."""
        images, height, width, channels = pixels.shape
        side = self._patch_px
        grid = pixels.view(images, height // side, side, width // side, side, channels)
        patches = grid.transpose(2, 3).flatten(3).flatten(1, 2).to(self._dtype).sub_(MIDDLE)
        tokens = torch.empty(images, 1 + patches.shape[1], len(self._class))
        tokens[:, 0] = self._class
        torch.add(self._patch(patches), self._positions, out=tokens[:, 1:])
        return tokens if self._before is None else self._before(tokens)

    def _by_head(self, rows: Tensor) -> Tensor:
        """`(n, tokens, width)` to `(n, heads, tokens, width / heads)`."""
        return rows.view(*rows.shape[:2], self._heads, -1).transpose(1, 2)


def tower_for(visual: nn.Module, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tower | None:
    """A tower for an open_clip module's weights; None where it or the machine is of another kind.

    mean, std: of the normalisation, `(3,)`, of values from 0 to 1.
    """
    if not (packs(dtype) and is_clips_own(visual)):
        return None
    return Tower(visual, mean, std, dtype)


def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of a number format here, as torch's compiler has it do."""
    operations = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    is_built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_built and all(hasattr(torch.ops.mkldnn, name) for name in operations)):
        return False
    has_bf16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype is torch.float32 or (dtype is torch.bfloat16 and has_bf16)


def is_clips_own(visual: nn.Module) -> TypeGuard[VisionTransformer]:
    """Whether a tower is CLIP's: equal blocks, a class token that is the result, no other pool."""
    return type(visual) is VisionTransformer and _is_plain(visual)


def _is_plain(visual: VisionTransformer) -> bool:
    side = visual.conv1.kernel_size[0]
    return (
        visual.pool_type == "tok"
        and visual.attn_pool is None
        and visual.proj is not None
        and not visual.output_tokens
        and visual.conv1.kernel_size == visual.conv1.stride == (side, side)
        and all(length % side == 0 for length in visual.image_size)
        and all(
            type(block) is ResidualAttentionBlock
            and isinstance(block.mlp.gelu, nn.GELU | QuickGELU)
            and getattr(block.mlp.gelu, "approximate", "none") == "none"
            for block in visual.transformer.resblocks
        )
    )


def _scale(module: nn.Module) -> Tensor:
    """What a layer's result is multiplied with, `(width,)` or one number."""
    return module.gamma.detach() if isinstance(module, LayerScale) else torch.ones(1)
