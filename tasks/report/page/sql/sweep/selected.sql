-- The value with the best accuracy on one half of the images, its accuracy on the other half, and
-- the accuracy of the base value there. A seed is never selected.
SELECT $panel AS panel,
       s.method, s.value, s.top1 AS selection_top1,
       e.top1 AS evaluation_top1, e.top1_low AS evaluation_low, e.top1_high AS evaluation_high,
       b.value AS base_value, b.top1 AS base_top1, e.difference, e.difference_low,
       e.difference_high, e.p_value, e.image_count
FROM sweeps AS s
JOIN sweeps AS e ON e.run_id = s.run_id AND e.parameter = s.parameter AND e.value = s.value
                AND e.encoder_name = s.encoder_name AND e.method = s.method
                AND e.split = 'evaluation'
LEFT JOIN sweeps AS b ON b.run_id = s.run_id AND b.parameter = s.parameter AND b.is_base
                     AND (b.encoder_name = s.encoder_name OR s.parameter = 'encoder')
                     AND b.method = s.method AND b.split = 'evaluation'
WHERE s.run_id = $run_id AND s.split = 'selection' AND s.is_selected
  -- where every value is as good, nothing was selected
  AND EXISTS (FROM sweeps AS o
              WHERE o.run_id = s.run_id AND o.parameter = s.parameter AND o.method = s.method
                AND (o.encoder_name = s.encoder_name OR s.parameter = 'encoder')
                AND o.split = 'selection' AND o.top1 <> s.top1)
ORDER BY s.parameter, panel, list_position($methods, s.method)
