-- Every two encoders on the same images.
SELECT method, encoder_name, baseline_encoder, difference, difference_low, difference_high, p_value,
       p_holm, image_count
FROM encoder_comparisons
WHERE run_id = $run_id
ORDER BY list_position($methods, method), baseline_encoder, encoder_name
