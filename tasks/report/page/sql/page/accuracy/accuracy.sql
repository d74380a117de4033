SELECT a.method, a.top1, CASE WHEN a.run_count > 1 THEN a.top1_sigma END AS top1_sigma,
       CASE WHEN a.run_count > 1 THEN s.seed_sigma END AS seed_sigma, a.run_count, a.top1_low,
       a.top1_high, s.image_sigma, m.value AS macro_top1, m.low AS macro_low, m.high AS macro_high, a.top5,
       a.image_count
FROM accuracy AS a
LEFT JOIN intervals AS s ON s.run_id = a.run_id AND s.method = a.method AND s.measure = 'top1'
LEFT JOIN intervals AS m ON m.run_id = a.run_id AND m.method = a.method AND m.measure = 'macro_top1'
WHERE a.run_id = $run_id AND a.method IN ($listed_methods)
ORDER BY list_position($methods, a.method)
