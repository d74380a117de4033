SELECT 'intervals' AS table_name, method, measure, value, low, high, run_sigma, seed_sigma, run_count,
       image_count
FROM intervals
WHERE run_id = $run_id
UNION ALL BY NAME
SELECT 'method_grid' AS table_name, method, image_side, text_side, 'top1' AS measure, top1 AS value,
       top1_low AS low, top1_high AS high, run_count, image_count
FROM method_grid
WHERE run_id = $run_id
UNION ALL BY NAME
SELECT 'method_steps' AS table_name, step, method, baseline_method, 'top1_difference' AS measure,
       difference AS value, difference_low AS low, difference_high AS high, p_value, p_holm,
       test_count, image_count
FROM method_steps
WHERE run_id = $run_id
UNION ALL BY NAME
SELECT 'comparisons' AS table_name, method, baseline_method, 'top1_difference' AS measure,
       difference AS value, difference_low AS low, difference_high AS high, p_value, p_holm,
       test_count, image_count
FROM comparisons
WHERE run_id = $run_id
