"""The tables that explain results: statistics, the paper's claim, explanations, sweeps."""

from tasks.store.columns import (
    BOOL,
    DIGEST,
    DOUBLE,
    INT,
    METHOD,
    REAL,
    SMALL,
    STRING,
    Column,
    Table,
)

INSIGHTS: dict[str, Table] = {
    "precision_checks": Table(
        "One row: how far embeddings, as stored, are from float32 ones of crops by Pillow.",
        (
            Column("precision", STRING, "Number format the encoder ran in."),
            Column(
                "resampling",
                STRING,
                "Who resized the crops: `pillow`, or the `device`, within 2/255 of Pillow.",
            ),
            Column(
                "view_count",
                INT,
                "Views compared, of the images whose digests come first; 0 where the embeddings "
                "are the reference themselves.",
            ),
            Column("max_cosine_error", DOUBLE, "Largest 1 - cosine with the reference."),
            Column("mean_cosine_error", DOUBLE, "Mean of it."),
        ),
    ),
    "intervals": Table(
        "One row per method and measure: sampling error of the images apart from that of the runs.",
        (
            METHOD,
            Column(
                "measure",
                STRING,
                "`top1`, `top5`, or `macro_top1`: the mean over classes of top1 in the class.",
            ),
            Column("value", DOUBLE, "Mean over runs, 0-1."),
            Column("run_count", SMALL, "Runs averaged over."),
            Column("run_sigma", DOUBLE, "Population standard deviation over runs: other draws."),
            Column("image_count", INT, "Labelled images scored."),
            Column("image_sigma", DOUBLE, "Bootstrap standard deviation: other images."),
            Column("low", DOUBLE, "Lower end of the bootstrap 95 % interval over images."),
            Column("high", DOUBLE, "Upper end of it."),
            Column("resample_count", SMALL, "Bootstrap draws."),
        ),
    ),
    "comparisons": Table(
        "One row per pair of methods on the same images. Right is an image in more than half of a "
        "method's runs, wrong in less than half; one that is right in exactly half is in none of "
        "the four counts, nor in McNemar's test.",
        (
            Column("baseline_method", STRING, "The method compared with."),
            METHOD,
            Column("image_count", INT, "Labelled images scored."),
            Column("difference", DOUBLE, "top1 of the method less that of the baseline."),
            Column("difference_low", DOUBLE, "Lower end of its paired-bootstrap 95 % interval."),
            Column("difference_high", DOUBLE, "Upper end of it."),
            Column("both_count", INT, "Images that both get right."),
            Column(
                "method_only_count",
                INT,
                "Images that the method gets right and the baseline wrong.",
            ),
            Column(
                "baseline_only_count",
                INT,
                "Images that the baseline gets right and the method wrong.",
            ),
            Column("neither_count", INT, "Images that both get wrong."),
            Column("p_exact", DOUBLE, "McNemar's exact test, two-sided."),
            Column("p_mid", DOUBLE, "The same with mid-p, less cautious; 1 if they never differ."),
            Column("p_holm", DOUBLE, "p_mid after Holm's correction over the baseline's rows."),
        ),
    ),
    "calibration": Table(
        "One row per method and bin of predictions: are confident ones right more often.",
        (
            METHOD,
            Column("bin", SMALL, "1 holds the least confident predictions; bins hold as many."),
            Column("prediction_count", INT, "Predictions in the bin, of all runs."),
            Column("confidence_low", DOUBLE, "Least confidence in the bin."),
            Column("confidence_high", DOUBLE, "Greatest confidence in the bin."),
            Column(
                "confidence",
                DOUBLE,
                "Mean confidence: softmax of 100 x score over the five best classes.",
            ),
            Column("top1", DOUBLE, "Share of them that is right, 0-1."),
            Column("top1_low", DOUBLE, "Lower end of the Wilson 95 % interval."),
            Column("top1_high", DOUBLE, "Upper end of it; runs repeat images and add none."),
        ),
    ),
    "alignments": Table(
        "One row per labelled image and description: all of its class, and as many of others.",
        (
            DIGEST,
            Column("is_own", BOOL, "Whether the description is of the image's class."),
            Column("class_id", SMALL, "The class described."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("whole_similarity", REAL, "Cosine with the whole image."),
            Column("best_similarity", REAL, "Greatest cosine with a crop."),
            Column("best_crop_index", SMALL, "That crop."),
            Column("gain", REAL, "best_similarity less whole_similarity."),
            Column("better_crop_share", DOUBLE, "Share of the crops that beat the whole image."),
        ),
    ),
    "alignment_summary": Table(
        "Whether the best crop beats the whole image; 95 % bootstrap intervals over images.",
        (
            Column("pairs", STRING, "`own`, `other` (the control), or `difference` of the two."),
            Column("image_count", INT, "Labelled images with crops."),
            Column("pair_count", INT, "Pairs of image and description; null for `difference`."),
            Column("better_mean", DOUBLE, "Share of pairs whose best crop beats the whole."),
            Column("better_low", DOUBLE, "Lower end of its interval."),
            Column("better_high", DOUBLE, "Upper end of it."),
            Column("gain_mean", DOUBLE, "Mean of best crop's cosine less the whole image's."),
            Column("gain_low", DOUBLE, "Lower end of its interval."),
            Column("gain_high", DOUBLE, "Upper end of it."),
            Column("crop_better_mean", DOUBLE, "Share of single crops that beat the whole."),
            Column("crop_better_low", DOUBLE, "Lower end of its interval."),
            Column("crop_better_high", DOUBLE, "Upper end of it."),
        ),
    ),
    "explanations": Table(
        "The classes between which `wca` decided on an image, over the whole pool without draws: "
        "of 12 images of a benchmark, in turns those that only `wca` gets right, only `clip`, "
        "neither and both, and of up to 50 of `wca classify --explain`.",
        (
            DIGEST,
            Column("role", STRING, "`predicted`, `runner_up`, or `labelled` where it is neither."),
            Column("class_id", SMALL, "The class."),
            Column("score", DOUBLE, "Its score."),
            Column("whole_score", DOUBLE, "The score that the whole image alone would get."),
        ),
    ),
    "explained_texts": Table(
        "One row per explained image, class of `explanations` and description of it.",
        (
            DIGEST,
            Column("class_id", SMALL, "The class described."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("text_weight", DOUBLE, "Its weight in the class."),
            Column("whole_similarity", DOUBLE, "Cosine with the whole image: CuPL."),
            Column("weighted_similarity", DOUBLE, "Cosine with the weighted sum of crops: WCA."),
            Column("best_similarity", DOUBLE, "Greatest cosine with a crop."),
            Column("best_crop_index", SMALL, "That crop."),
            Column(
                "support",
                DOUBLE,
                "What it adds to score(predicted) - score(runner-up); each class's sum to it.",
            ),
        ),
    ),
    "explained_pairs": Table(
        "The few pairs of crop and description that decide between predicted and runner-up.",
        (
            DIGEST,
            Column("class_id", SMALL, "The class described, predicted or runner-up."),
            Column("rank", SMALL, "1 for the pair that speaks most for that class."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("crop_index", SMALL, "The crop."),
            Column("similarity", DOUBLE, "Their cosine."),
            Column("text_weight", DOUBLE, "The description's weight in the class."),
            Column("crop_weight", DOUBLE, "The crop's weight in the image."),
            Column("support", DOUBLE, "What the pair adds to score(predicted) - score(runner-up)."),
        ),
    ),
    "counterfactuals": Table(
        "What an explained image would be called without a description or a crop.",
        (
            DIGEST,
            Column("removed", STRING, "`description` (of the predicted class) or `crop`."),
            Column("step", SMALL, "Order by support for the predicted class, from 1."),
            Column("index", SMALL, "The description's position, or the crop's crop_index."),
            Column("class_id", SMALL, "The class predicted without this one alone."),
            Column("margin", DOUBLE, "score(predicted) - score(runner-up) then."),
            Column("class_id_together", SMALL, "The class without this and all earlier steps."),
            Column("margin_together", DOUBLE, "score(predicted) - score(runner-up) then."),
        ),
    ),
    "sweeps": Table(
        "Accuracy with one parameter changed at a time. Choosing a value by it uses labels.",
        (
            Column("parameter", STRING, "The parameter that is varied."),
            Column("value", STRING, "Its value; `off` for uniform weights."),
            Column("value_index", SMALL, "Position among the parameter's values, from 0."),
            Column("is_base", BOOL, "Whether this is the value that the other rows keep."),
            METHOD,
            Column(
                "split",
                STRING,
                "`all` images; or the halves `selection` and `evaluation`, by the images' digests.",
            ),
            Column("image_count", INT, "Labelled images of the split scored."),
            Column("run_count", SMALL, "Runs averaged over."),
            Column("top1", DOUBLE, "Mean over runs of the share that is right, 0-1."),
            Column("top1_sigma", DOUBLE, "Population standard deviation of that over runs."),
            Column("top1_low", DOUBLE, "Lower end of the Wilson 95 % interval over images."),
            Column("top1_high", DOUBLE, "Upper end of it."),
            Column(
                "is_selected",
                BOOL,
                "Whether the value is the method's best on `selection`: chosen with labels. Only "
                "its row of `evaluation` is then an honest estimate, and no zero-shot one.",
            ),
        ),
    ),
}
