SELECT c.class_name, c.image_count, c.top1,
       wilson_low(c.top1, c.image_count) AS low, wilson_high(c.top1, c.image_count) AS high,
       b.top1 AS baseline_top1, c.top1 - b.top1 AS change
FROM per_class_accuracy AS c
LEFT JOIN per_class_accuracy AS b
  ON b.run_id = c.run_id AND b.class_id = c.class_id AND b.method = $baseline
WHERE c.run_id = $run_id AND c.method = $method
ORDER BY c.top1, c.image_count DESC, c.class_id
