"""CLIP's image tower for CPUs: the weights and results of open_clip, arranged for oneDNN."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import torch
from open_clip.transformer import LayerScale, QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention

# QuickGELU(x) = x * sigmoid(1.702 x) = swish(1.702 x) / 1.702, and oneDNN has swish.
QUICK_GELU = 1.702
# Subtracted from pixels: bfloat16 holds the results exactly, and their sums stay small.
MIDDLE = 128

Norm = Callable[[Tensor], Tensor]


class Layer:
    """A linear layer with weights packed by oneDNN, and the activation computed with it."""

    def __init__(
        self, weight: Tensor, bias: Tensor, dtype: torch.dtype, activation: str = "none"
    ) -> None:
        rows = weight.detach().to(dtype).contiguous()  # (out, in)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(rows)
        self._bias = bias.detach().to(dtype)
        self._activation = activation
        # of GELU "none" is the exact form, by the error function
        self._algorithm = "none" if activation == "gelu" else ""

    def __call__(self, rows: Tensor) -> Tensor:
        """Compute `(..., out)` from `(..., in)`."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, self._activation, [], self._algorithm
        )
        return product


class Block:
    """A transformer block whose layers are packed; their scales become part of the weights."""

    def __init__(self, block: ResidualAttentionBlock, dtype: torch.dtype) -> None:
        attention, out, mlp = block.attn, block.attn.out_proj, block.mlp
        width = attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        is_quick = isinstance(mlp.gelu, QuickGELU)
        factor, activation = (QUICK_GELU, "swish") if is_quick else (1.0, "gelu")
        first, last = _layer_scale(block.ls_1), _layer_scale(block.ls_2)
        narrow = mlp.c_proj.weight * (last / factor).view(-1, 1)
        self.attention_norm = _float32_norm(block.ln_1)
        self.query = Layer(weight[:width], bias[:width], dtype)
        self.key_value = Layer(weight[width:], bias[width:], dtype)
        self.out = Layer(out.weight * first.view(-1, 1), out.bias * first, dtype)
        self.mlp_norm = _float32_norm(block.ln_2)
        self.widen = Layer(mlp.c_fc.weight * factor, mlp.c_fc.bias * factor, dtype, activation)
        self.narrow = Layer(narrow, mlp.c_proj.bias * last, dtype)


class Tower:
    """Compute what a VisionTransformer computes from 8-bit pixels, up to rounding.

    It differs from open_clip's forward pass: normalisation is part of the patch embedding, weights
    are packed once instead of for every product, GELU is computed while the rows of a product are
    in the cache, sums between blocks are float32 in every number format, and the last block
    computes only the class token, because nothing reads the others.
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
        self._patch = Layer(patch, torch.zeros(len(patch)), dtype)
        positions = visual.positional_embedding.detach().float()
        self._class = visual.class_embedding.detach().float() + positions[0]
        self._positions = positions[1:] + (weight * shift).sum(dim=(1, 2, 3))
        has_norm = not isinstance(visual.ln_pre, nn.Identity)
        self._first_norm = _float32_norm(visual.ln_pre) if has_norm else None
        self._heads = visual.transformer.resblocks[0].attn.num_heads
        self._blocks = [Block(block, dtype) for block in visual.transformer.resblocks]
        self._last_norm = _float32_norm(visual.ln_post)
        self._projection = visual.proj.detach().float().T.contiguous()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Embed uint8 `(n, height, width, 3)` as float32 `(n, dim)`, not normalised."""
        tokens = self._embed_patches(pixels)
        for number, block in enumerate(self._blocks, start=1):
            # the class token comes first
            needed = 1 if number == len(self._blocks) else tokens.shape[1]
            rows = block.attention_norm(tokens).to(self._dtype)
            query = self._split_heads(block.query(rows[:, :needed]))
            key, value = map(self._split_heads, block.key_value(rows).chunk(2, dim=-1))
            attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            tokens = tokens[:, :needed] + block.out(attended)
            rows = block.mlp_norm(tokens).to(self._dtype)
            tokens += block.narrow(block.widen(rows))
        return linear(self._last_norm(tokens[:, 0]), self._projection)

    def _embed_patches(self, pixels: Tensor) -> Tensor:
        """Compute the class token and a token per patch: float32 `(n, 1 + patches, width)`."""
        images, height, width, channels = pixels.shape
        side = self._patch_px
        grid = pixels.view(images, height // side, side, width // side, side, channels)
        patches = grid.transpose(2, 3).flatten(3).flatten(1, 2).to(self._dtype).sub_(MIDDLE)
        tokens = torch.empty(images, 1 + patches.shape[1], len(self._class))
        tokens[:, 0] = self._class
        torch.add(self._patch(patches), self._positions, out=tokens[:, 1:])
        return tokens if self._first_norm is None else self._first_norm(tokens)

    def _split_heads(self, rows: Tensor) -> Tensor:
        """Turn `(n, tokens, width)` into `(n, heads, tokens, width / heads)`."""
        return rows.view(*rows.shape[:2], self._heads, -1).transpose(1, 2)


def build_tower(visual: nn.Module, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tower | None:
    """Build a tower with an open_clip module's weights; None where it or the machine cannot.

    mean, std: of the normalisation, `(3,)`, of values from 0 to 1.
    """
    if not (can_pack(dtype) and is_clip_tower(visual)):
        return None
    return Tower(visual, mean, std, dtype)


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN packs weights of a number format on this machine."""
    operations = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    is_built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_built and all(hasattr(torch.ops.mkldnn, name) for name in operations)):
        return False
    has_bf16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype is torch.float32 or (dtype is torch.bfloat16 and has_bf16)


def is_clip_tower(visual: Any) -> TypeGuard[VisionTransformer]:
    """Tell whether a tower is CLIP's: equal blocks, and the class token is the result."""
    if type(visual) is not VisionTransformer:
        return False
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


def _float32_norm(norm: nn.LayerNorm) -> Norm:
    weight, bias = norm.weight.detach().float(), norm.bias.detach().float()
    shape = list(weight.shape)
    return partial(layer_norm, normalized_shape=shape, weight=weight, bias=bias, eps=norm.eps)


def _layer_scale(module: nn.Module) -> Tensor:
    """Return the factors of a layer's result, `(width,)` or a single 1."""
    return module.gamma.detach() if isinstance(module, LayerScale) else torch.ones(1)
