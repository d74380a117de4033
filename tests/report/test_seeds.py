"""What is said of seeds and of encoders' names."""

import numpy as np

from tasks.report.encoder_names import shorten_encoder_names
from tasks.report.seeds import describe_seeds, deviation_interval


def test_the_interval_of_a_deviation_holds_it_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(0, 2.0, (1000, 5))
    ends = [deviation_interval(float(values.std(ddof=1)), 5) for values in samples]
    share = np.mean([low <= 2.0 <= high for low, high in ends])
    assert 0.93 < share < 0.97


def test_each_method_has_a_sentence_and_those_that_no_seed_changes_share_one() -> None:
    shared = {"encoder_name": "", "seed_count": 5, "mean_top1": 0.5, "lowest_top1": 0.5}
    same = {**shared, "highest_top1": 0.5, "deviation": 0.0, "estimated_deviation": 0.0}
    other = {**shared, "highest_top1": 0.52, "deviation": 0.01}
    found = describe_seeds(
        [
            {**same, "method": "clip"},
            {**other, "method": "waffle", "estimated_deviation": None},
            {**same, "method": "cupl"},
            {**other, "method": "wca", "estimated_deviation": 0.02},
            {**other, "method": "wca_paper", "estimated_deviation": 0.05},
        ]
    )
    said = "50.00 % over 5 seeds, deviation 1.00 points (95 %: 0.60 to 2.87)"
    assert found == [
        f"Waffle: {said}; one seed gives no estimate of it.",
        f"WCA: {said}; the estimate from one seed, 2.00, is within the interval.",
        f"WCA (printed sum): {said}; the estimate from one seed, 5.00, is outside the interval.",
        "The same accuracy under every seed: CLIP, CuPL.",
    ]


def test_names_lose_their_folders_only_where_they_still_differ() -> None:
    names = {
        "photo-lite": "photo-lite",
        "ViT-B-32/openai": "ViT-B-32/openai",
        "hf-hub:timm/ViT": "hf-hub:timm/ViT",
        "ViT-B-32/openai:/w/a.pt": "ViT-B-32/openai:…/a.pt",
        "local-dir:/one/model": "local-dir:/one/model",
        "local-dir:/two/model": "local-dir:/two/model",
    }
    assert shorten_encoder_names(names) == names
