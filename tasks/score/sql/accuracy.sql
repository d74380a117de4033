-- One row per method. Reads predictions, images.
WITH hits AS (
  SELECT p.method,
         p.run_index,
         count(*) FILTER (p.rank = 1) AS image_count,
         count(*) FILTER (p.rank = 1 AND p.class_id = i.class_id) AS first_count,
         count(*) FILTER (p.rank <= 5 AND p.class_id = i.class_id) AS five_count
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE i.class_id IS NOT NULL
  GROUP BY p.method, p.run_index
),
means AS (  -- over whole numbers, whose sums are exact in any order: threads change no digit
  SELECT method,
         max(image_count) AS n,
         count(*) AS run_count,
         sum(first_count) / (n * run_count) AS top1,
         sqrt(run_count * sum(first_count * first_count) - sum(first_count) * sum(first_count))
           / (n * run_count) AS top1_sigma,
         sum(five_count) / (n * run_count) AS top5,
         sqrt(run_count * sum(five_count * five_count) - sum(five_count) * sum(five_count))
           / (n * run_count) AS top5_sigma
  FROM hits
  GROUP BY method
)
SELECT method,
       n AS image_count,
       run_count::INTEGER AS run_count,
       top1,
       top1_sigma,
       wilson_low(top1, n) AS top1_low,
       wilson_high(top1, n) AS top1_high,
       top5,
       top5_sigma
FROM means
ORDER BY method
