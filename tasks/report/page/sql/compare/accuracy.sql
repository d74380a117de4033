SELECT method, f.top1 AS first, f.top1_low AS first_low, f.top1_high AS first_high,
       s.top1 AS second, s.top1_low AS second_low, s.top1_high AS second_high,
       s.top1 - f.top1 AS difference
FROM (FROM accuracy WHERE run_id = $first) AS f
FULL JOIN (FROM accuracy WHERE run_id = $second) AS s USING (method)
ORDER BY list_position($methods, method)
