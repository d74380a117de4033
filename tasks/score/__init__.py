"""Predictions, accuracy, comparisons and explanations; tasks/methods has the formula."""

# The tables of some tasks, in the order in which each returns them. They stand here, so that a run
# that finds all of its tables loads neither torch nor scipy.
RESULT_TABLES = ("accuracy", "per_class_accuracy", "confusion", "rejected")
STATISTICS_TABLES = (
    *("intervals", "comparisons", "calibration", "calibration_errors"),
    *("method_grid", "method_steps"),
)
ALIGNMENT_TABLES = ("alignments", "matched_alignments")  # fields of AlignmentSummaryRecipe
EXPLANATION_TABLES = ("explanations", "explained_texts", "explained_pairs", "counterfactuals")
SWEEP_TABLES = ("sweeps", "encoder_comparisons")
