SELECT method, difference, difference_low, difference_high, p_value, p_holm,
       method_only_count, baseline_only_count, p_exact, p_mid, test_count
FROM comparisons
WHERE run_id = $run_id AND baseline_method = $baseline
ORDER BY list_position($methods, method)
