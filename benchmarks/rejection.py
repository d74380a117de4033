"""Which confidence tells images of unknown classes apart: score, margin, or probability.

    python benchmarks/rejection.py --store data/store [--run last] [--splits 20]

Each split withholds a random half of a run's classes from the class list and predicts all of its
labelled images, from the stored embeddings, with the classes that are left. Images of withheld
classes are unknown: whatever class they get is wrong. Each figure is a mean over splits and, behind
the sign, the standard deviation over them: AUROC of known against unknown images; the area under
risk (the share of answered images that are wrong) against coverage; and with a threshold at the 5th
percentile of one half of the known images, how many of the other half and of the unknown images are
answered.
"""

import argparse

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import rankdata

from tasks.methods.wca import draw_counts
from tasks.score.calibration import Logits, log_odds
from tasks.score.predict import predict
from tasks.store.runs import find_run
from tasks.store.tables import Store

METHODS = ("clip", "cupl", "mean_crops", "wca")
PERCENTILE = 5
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="data/store")
    parser.add_argument("--run", default="last")
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    store = Store(options.store)
    run = find_run(store, options.run, ("benchmark",))
    images, crops, vectors = (
        store.read_all([ref for ref in run.tables if ref.table == name])
        for name in ("images", "crops", "class_vectors")
    )
    labels = dict(
        zip(images["image_digest"].to_pylist(), images["class_id"].to_pylist(), strict=True)
    )
    logits = Logits(run.encoder["logit_scale"], run.encoder["logit_bias"])
    counts = draw_counts(run.parameters["pool"], 1, 0, 0)
    classes = sorted(set(labels.values()))
    rng = np.random.default_rng(0)
    found: dict[tuple[str, str], list[Floats]] = {}
    for _ in range(options.splits):
        known = np.sort(rng.permutation(classes)[: len(classes) // 2])
        chosen = vectors.filter(
            pc.field("class_id").isin(known.tolist()) & pc.field("method").isin(METHODS)
        )
        rows = [
            row
            for batch in predict(crops.to_batches(), chosen, counts, run.parameters["image_scale"])
            for row in batch.to_pylist()
        ]
        for method in METHODS:
            own = [row for row in rows if row["method"] == method]
            scores = np.array([row["score"] for row in own]).reshape(-1, 5)
            first = own[::5]
            truth = np.array([labels[row["image_digest"]] for row in first])
            is_known = np.isin(truth, known)
            # predictions number the classes that are left
            is_right = known[[row["class_id"] for row in first]] == truth
            measures = {
                "score": scores[:, 0],
                "margin": scores[:, 0] - scores[:, 1],
                "probability": log_odds(scores, logits),
            }
            for name, confidence in measures.items():
                figures = judge(confidence, is_known, is_right, rng.random(len(truth)) < 0.5)
                found.setdefault((method, name), []).append(figures)
    print(
        "| method | confidence | AUROC | area under risk | known answered % | unknown answered % |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for (method, name), figures in found.items():
        mean, sigma = np.mean(figures, axis=0), np.std(figures, axis=0)
        cells = [
            f"{m:.3f} ± {s:.3f}" if m < 1 else f"{m:.1f} ± {s:.1f}"
            for m, s in zip(mean, sigma, strict=True)
        ]
        print(f"| {method} | {name} | {' | '.join(cells)} |")


def judge(
    confidence: Floats,
    is_known: NDArray[np.bool_],
    is_right: NDArray[np.bool_],
    is_calibrating: NDArray[np.bool_],
) -> Floats:
    """AUROC, area under risk against coverage, and percent answered of known and unknown images."""
    ranks, count = rankdata(confidence), int(is_known.sum())
    above = ranks[is_known].sum() - count * (count + 1) / 2
    auroc = above / (count * (len(ranks) - count))
    wrong = ~is_right[np.argsort(-confidence, kind="stable")]
    risks = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    threshold = np.percentile(confidence[is_known & is_calibrating], PERCENTILE)
    answered = confidence >= threshold
    shares = [answered[is_known & ~is_calibrating].mean(), answered[~is_known].mean()]
    return np.array([auroc, risks.mean(), *(100 * share for share in shares)])


if __name__ == "__main__":
    main()
