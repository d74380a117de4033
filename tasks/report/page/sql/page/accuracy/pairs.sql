SELECT method, baseline_method, difference, difference_low, difference_high, p_value, p_holm, is_identical
FROM comparisons
WHERE run_id = $run_id
ORDER BY list_position($methods, baseline_method), list_position($methods, method)
