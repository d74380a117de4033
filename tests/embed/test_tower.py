"""The tower for CPUs against open_clip's own, over kinds of towers and number formats."""

from typing import Any

import pytest
import torch
from open_clip.transformer import LayerNorm, LayerNormFp32, QuickGELU, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from tasks.embed.tower import Tower, build_tower

MEAN, STD = torch.tensor([0.48, 0.45, 0.40]), torch.tensor([0.26, 0.27, 0.28])
PLAIN: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "width": 64,
    "layers": 3,
    "heads": 4,
    "mlp_ratio": 4.0,
    "output_dim": 48,
}
KINDS: list[dict[str, Any]] = [
    {},
    {"act_layer": QuickGELU},
    {"no_ln_pre": True, "pos_embed_type": "sin_cos_2d"},
    {"ls_init_value": 0.5, "act_layer": QuickGELU},
    {"image_size": (32, 48), "patch_size": 16},
    {"width": 96, "heads": 3, "mlp_ratio": 2.0, "layers": 1},
    {"patch_dropout": 0.5, "final_ln_after_pool": True},
    {"norm_layer": LayerNormFp32, "image_size": 224, "patch_size": 32, "layers": 12},
]


def visual(**changes: Any) -> VisionTransformer:
    """A tower none of whose parameters is one of the zeros and ones that training starts from."""
    torch.manual_seed(0)
    tower = VisionTransformer(**{**PLAIN, "norm_layer": LayerNorm, **changes}).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * parameter.std().nan_to_num(1.0))
    return tower


def pixels_for(tower: VisionTransformer) -> Tensor:
    height, width = tower.image_size
    return torch.randint(0, 256, (5, height, width, 3), dtype=torch.uint8)


def reference(tower: VisionTransformer, pixels: Tensor) -> Tensor:
    """open_clip's forward pass on what ToTensor and Normalize make of the pixels."""
    values = (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    with torch.no_grad():
        return normalize(tower(values), dim=-1)


def embed(tower: Tower, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        return normalize(tower(pixels), dim=-1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "plain")
def test_embeddings_are_open_clips(kind: dict[str, Any]) -> None:
    original = visual(**kind)
    pixels = pixels_for(original)
    expected = reference(original, pixels)
    tower = build_tower(original, MEAN, STD, torch.float32)
    assert tower is not None
    assert (embed(tower, pixels) - expected).abs().max() < 1e-5
    assert expected.std(dim=0).max() > 0.01  # images of noise are told apart at all


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "plain")
def test_bfloat16_is_as_near_to_float32_as_it_can_be(kind: dict[str, Any]) -> None:
    original = visual(**kind)
    tower = build_tower(original, MEAN, STD, torch.bfloat16)
    if tower is None:  # a processor that oneDNN has no bfloat16 for: open_clip's module is used
        assert not torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return
    pixels = pixels_for(original)
    cosines = (embed(tower, pixels) * reference(original, pixels)).sum(dim=-1)
    assert cosines.min() > 1 - 1e-4


def test_an_image_does_not_depend_on_its_neighbours_beyond_rounding() -> None:
    original = visual()
    pixels = pixels_for(original)
    tower = build_tower(original, MEAN, STD, torch.float32)
    assert tower is not None
    together = embed(tower, pixels)
    alone = torch.cat([embed(tower, pixels[i : i + 1]) for i in range(len(pixels))])
    assert (together - alone).abs().max() < 1e-6


class Derived(VisionTransformer):
    """A tower that might compute something else."""


@pytest.mark.parametrize(
    "changes",
    [
        {"pool_type": "avg"},
        {"attentional_pool": True},
        {"output_tokens": True},
        {"block_type": "custom"},
        {"act_layer": nn.ReLU},
        {"image_size": 36},
    ],
    ids=str,
)
def test_other_towers_stay_open_clips(changes: dict[str, Any]) -> None:
    assert build_tower(visual(**changes), MEAN, STD, torch.float32) is None


def test_other_classes_and_formats_stay_open_clips() -> None:
    settings = {**PLAIN, "norm_layer": LayerNorm}
    assert build_tower(Derived(**settings), MEAN, STD, torch.float32) is None
    assert build_tower(nn.Identity(), MEAN, STD, torch.float32) is None
    assert build_tower(visual(), MEAN, STD, torch.float16) is None
