-- The value with the best accuracy on one half of the images, its accuracy on the other half, and
-- the accuracy of the base value there.
SELECT s.parameter, s.method, s.value, s.top1 AS selection_top1,
       e.top1 AS evaluation_top1, e.top1_low AS evaluation_low, e.top1_high AS evaluation_high,
       b.value AS base_value, b.top1 AS base_top1, e.difference, e.difference_low,
       e.difference_high, e.p_value, e.image_count
FROM sweeps AS s
JOIN sweeps AS e ON e.run_id = s.run_id AND e.parameter = s.parameter AND e.value = s.value
                AND e.method = s.method AND e.split = 'evaluation'
LEFT JOIN sweeps AS b ON b.run_id = s.run_id AND b.parameter = s.parameter AND b.is_base
                     AND b.method = s.method AND b.split = 'evaluation'
WHERE s.run_id = $run_id AND s.split = 'selection' AND s.is_selected
  AND (s.parameter, s.method) IN (
    SELECT (parameter, method) FROM sweeps WHERE run_id = $run_id AND split = 'selection'
    GROUP BY parameter, method HAVING count(DISTINCT top1) > 1)
ORDER BY s.parameter, list_position($methods, s.method)
