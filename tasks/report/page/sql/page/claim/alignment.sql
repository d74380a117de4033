SELECT pairs, image_count, pair_count, whole_mean, better_mean, better_low, better_high,
       gain_mean, gain_low, gain_high, crop_better_mean, crop_better_low, crop_better_high
FROM alignment_summary
WHERE run_id = $run_id
ORDER BY list_position(['own', 'other', 'difference', 'own_matched', 'matched', 'matched_difference'], pairs)
