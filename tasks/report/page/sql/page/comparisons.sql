SELECT method, difference, difference_low, difference_high,
       method_only_count, baseline_only_count, p_exact, p_mid, p_holm
FROM comparisons
WHERE run_id = $run_id AND baseline_method = $baseline
ORDER BY list_position($methods, method)
