-- One row per method. Reads predictions, images. Parameter: z, the normal quantile of the interval.
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
),
wilson AS (  -- E. B. Wilson 1927: the score interval of a proportion
  SELECT *,
         (top1 + $z * $z / (2 * n)) / (1 + $z * $z / n) AS centre,
         $z / (1 + $z * $z / n) * sqrt(top1 * (1 - top1) / n + $z * $z / (4 * n * n)) AS half
  FROM means
)
SELECT method,
       n AS image_count,
       run_count::INTEGER AS run_count,
       top1,
       top1_sigma,
       greatest(0, centre - half) AS top1_low,
       least(1, centre + half) AS top1_high,
       top5,
       top5_sigma
FROM wilson
ORDER BY method
