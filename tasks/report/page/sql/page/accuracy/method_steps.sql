SELECT step, baseline_method, method, difference, difference_low, difference_high, p_value, p_holm,
       is_identical, test_count
FROM method_steps
WHERE run_id = $run_id
ORDER BY row_number() OVER ()
