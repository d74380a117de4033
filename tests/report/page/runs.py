"""A recorded run with random results, to make reports of."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tasks.store.records import RunManifest, StageTiming
from tasks.store.runs import record_run
from tasks.store.schemas import schema
from tasks.store.tables import Store

METHODS = {"clip": 1, "cupl": 1, "wca": 3, "wca_paper": 3}  # the number of runs of each
SIDES = {
    "clip": ("whole", "label"),
    "cupl": ("whole", "descriptions"),
    "wca": ("weighted_crops", "weighted_descriptions"),
    "wca_paper": ("weighted_crops", "printed_descriptions"),
}
CLASSES, IMAGES, TEXTS, CROPS = 3, 30, 4, 2
Rows = list[dict[str, Any]]
NO_CHANGES: Mapping[str, Rows] = MappingProxyType({})


class Run:
    """A recorded run; other seeds give other numbers. changes: tables with given rows.

    encoder: what the record says of the encoder.
    """

    def __init__(
        self,
        store: Store,
        seed: int,
        changes: Mapping[str, Rows] = NO_CHANGES,
        encoder: dict[str, Any] | None = None,
        dataset_name: str = "some",
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.names = [f"class {c}" if seed < 2 else f"kind {c}" for c in range(CLASSES)]
        keys = list(itertools.product(range(CLASSES), range(TEXTS)))
        self.rows: dict[str, Rows] = {
            "classes": [{"class_id": c, "class_name": n} for c, n in enumerate(self.names)],
            "images": [
                {"image_id": i, "image_name": f"{i}.jpg", "image_digest": f"d{i:02}",
                 "class_id": int(rng.integers(CLASSES))}
                for i in range(IMAGES)
            ],
            "descriptions": [
                {"class_id": c, "class_name": self.names[c], "kind": kind, "position": j,
                 "text": f"{kind} {j} of {c}"}
                for kind, count in (("label", 1), ("description", TEXTS))
                for c in range(CLASSES) for j in range(count)
            ],
            "predictions": [
                {"image_digest": f"d{i:02}", "method": method, "run_index": run, "rank": rank,
                 "class_id": int(c), "score": 0.03 * (1 - rank) + 0.03 * float(rng.random())}
                for i in range(IMAGES) for method, runs in METHODS.items() for run in range(runs)
                for rank, c in enumerate(rng.permutation(CLASSES), start=1)
            ],
            "class_vectors": [
                {"method": m, "class_id": c, "embedding": rng.random(2).tolist()}
                for m in METHODS for c in range(CLASSES)
            ],
            "crops": [
                {"image_digest": f"d{i:02}", "crop_index": n, "left_px": n, "top_px": n,
                 "width_px": 9, "height_px": 7, "is_flipped": n % 2 == 1,
                 "whole_similarity": rng.random(), "embedding": rng.normal(size=2).tolist()}
                for i in range(IMAGES) for n in range(CROPS + 1)
            ],
            "draws": [
                {"run_index": run, "crop_index": n, "draw_count": (1 + n + run) % 3}
                for run in range(3) for n in range(1, CROPS + 1)
            ],
            "rejected": [{"image_id": 0, "image_name": "bad.jpg", "reason": f"Run {seed}."}],
            "answers": [
                {"class_name": self.names[0], "llm": f"model {n % 2}", "answer": "x",
                 "prompt_digest": f"{n // 4}", "answer_index": n % 4,
                 "received_at": "2024-02-03T04:05Z",
                 "text": "x" if rng.random() < 0.5 else None, "prompt_tokens": rng.random(),
                 "completion_tokens": rng.random(), "cost_usd": 0.125 * n}
                for n in range(8)
            ],
            "accuracy": [self.random_row("accuracy", method=m) for m in METHODS],
            "intervals": [
                self.random_row("intervals", method=m, measure=name)
                for m in METHODS for name in ("top1", "top5", "macro_top1")
            ],
            "comparisons": [
                self.random_row("comparisons", baseline_method=a, method=b)
                for a, b in itertools.combinations(METHODS, 2)
            ],
            "calibration": [
                self.random_row("calibration", method=m, bin=b) for m in METHODS for b in (1, 2, 3)
            ],
            "calibration_errors": [
                self.random_row("calibration_errors", method=m) for m in METHODS
            ],
            "method_grid": [
                self.random_row("method_grid", method=m, image_side=image, text_side=text)
                for m, (image, text) in SIDES.items()
            ],
            "method_steps": [
                self.random_row("method_steps", step=s, baseline_method=a, method=b)
                for s, a, b in (
                    ("all", "clip", "wca"), ("crops_alone", "clip", "weighted_crops.label"),
                    ("texts_alone", "clip", "whole.weighted_descriptions"),
                )
            ],
            "alignments": [
                self.random_row("alignments", image_digest=f"d{i:02}", is_own=own, class_id=c,
                             position=0, gain=float(rng.normal(0, 0.03)))
                for i in range(IMAGES) for own, c in ((True, 0), (False, 1))
            ],
            "matched_alignments": [
                self.random_row("matched_alignments", image_digest=f"d{i:02}", class_id=0,
                             position=0, gain=float(rng.normal(0, 0.03)))
                for i in range(IMAGES)
            ],
            "alignment_summary": [
                self.random_row("alignment_summary", pairs=pairs)
                for pairs in ("own", "other", "difference",
                              "own_matched", "matched", "matched_difference")
            ],
            "explanations": [
                self.random_row("explanations", image_digest=f"d{i:02}", role=role, class_id=c,
                             crop_count=1 if i == 3 else CROPS)  # drawn in the first run, or all
                for i in (3, 1) for c, role in enumerate(rng.permuted(["predicted", "runner_up"]))
            ],
            "explained_texts": [
                self.random_row("explained_texts", image_digest=f"d{i:02}", class_id=c, position=j)
                for i in (3, 1) for c, j in keys
            ],
            "explained_pairs": [
                self.random_row("explained_pairs", image_digest=f"d{i:02}", class_id=c, rank=j + 1,
                             position=TEXTS - 1 - j, crop_index=1 + j % CROPS)
                for i in (3, 1) for c, j in keys
            ],
            "counterfactuals": [
                self.random_row("counterfactuals", image_digest=f"d{i:02}", removed=what, step=n,
                             index=index, class_id=n % 2, class_id_together=(n + 1) % 2)
                for i in (3, 1) for what in ("description", "crop")
                for n, index in ((1, 2), (2, 1))
            ],
            "sweeps": [
                self.random_row("sweeps", parameter=name, value=str(v), value_index=v,
                             encoder_name="", is_base=v == 0, method=m, split=split,
                             is_selected=name == "crops" and v == 1 + (m > "clip"))
                for name in ("crops", "seed")
                for v in range(3) for m in METHODS for split in ("all", "selection", "evaluation")
            ],
            "encoder_comparisons": [
                self.random_row("encoder_comparisons", baseline_encoder=a, encoder_name=b, method=m)
                for m in METHODS for a, b in (("a", "b"), ("a", "c"), ("b", "c"))
            ],
        }  # fmt: skip
        counts = Counter(image["class_id"] for image in self.rows["images"])
        self.rows["per_class_accuracy"] = [
            {"method": m, "class_id": c, "class_name": self.names[c], "image_count": counts[c],
             "top1": int(rng.integers(counts[c])) / counts[c]}
            for m in METHODS for c in range(CLASSES)
        ]  # fmt: skip
        self.rows["confusion"] = [
            self.random_row("confusion", method=m, class_id=a, class_name=self.names[a],
                         predicted_class_id=b, predicted_class_name=self.names[b])
            for m in METHODS for a in range(CLASSES) for b in range(CLASSES)
        ]  # fmt: skip
        embeddings = rng.normal(size=(len(self.rows["descriptions"]), 2))
        self.rows["text_embeddings"] = [
            {"text": d["text"], "is_truncated": False, "embedding": (e / np.hypot(*e)).tolist()}
            for d, e in zip(self.rows["descriptions"], embeddings, strict=True)
        ]
        self.rows |= changes
        manifest = RunManifest(
            flow_name="benchmark",
            dataset_name=dataset_name,
            encoder_name="lite",
            encoder=encoder or {},
            parameters={"seed": seed, "image_scale": 4.0, "text_scale": 2.0, "shared": 1},
            image_count=IMAGES + seed,
            rejected_count=seed,
            tables=tuple(
                store.write_rows(name, f"{seed}" * 64, schema(name, 2), rows)
                for name, rows in self.rows.items()
            ),
        )
        for again in range(2):
            stage = StageTiming(
                stage="embed images", duration_sec=seed + again, table_count=2, reused_count=again
            )
            self.run_id = record_run(store, manifest, f"flow-{again}-{seed}", [stage])

    def random_row(self, table: str, **given: Any) -> dict[str, Any]:
        """A row with these values and random numbers in its other columns."""
        kinds = {field.name: str(field.type) for field in schema(table, 2)}
        draw = {"int": lambda: int(self.rng.integers(1, 9)), "dou": self.rng.random}
        free = {n: draw[k[:3]]() for n, k in kinds.items() if k[:3] in draw}
        return {**free, **given}

    def select(self, table: str, **wanted: Any) -> Rows:
        """The rows of a table with these values."""
        return [r for r in self.rows[table] if all(r[k] == v for k, v in wanted.items())]

    def majority_predictions(self, method: str) -> dict[str, int]:
        """The class that most runs predict for each image; of equal counts the lower one."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for row in self.select("predictions", method=method, rank=1):
            counts[row["image_digest"]][row["class_id"]] += 1
        return {d: min(n, key=lambda c: (-n[c], c)) for d, n in counts.items()}

    def image_names(self) -> dict[str, str]:
        """The name of each image, by its digest."""
        return {row["image_digest"]: row["image_name"] for row in self.rows["images"]}

    def labels(self) -> dict[str, str]:
        """The class of each image, by its digest."""
        return {row["image_digest"]: self.names[row["class_id"]] for row in self.rows["images"]}

    def wca_draws(self) -> dict[str, dict[int, Rows]]:
        """WCA's predictions of each image by run, best first."""
        found: dict[str, dict[int, Rows]] = defaultdict(lambda: defaultdict(list))
        for row in self.select("predictions", method="wca"):
            found[row["image_digest"]][row["run_index"]].append(row)
        return found

    def crop_weights(self, digest: str) -> dict[int, float]:
        """The weights of the crops of an image, whole image apart, by the formula."""
        masses = {
            row["crop_index"]: math.exp(math.exp(4) * float(np.float32(row["whole_similarity"])))
            for row in self.select("crops", image_digest=digest)
            if row["crop_index"] > 0
        }
        return {index: mass / sum(masses.values()) for index, mass in masses.items()}
