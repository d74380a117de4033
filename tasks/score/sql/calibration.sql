-- Whether confident predictions are right more often: one row per method and bin of predictions.
-- Confidence is the softmax of 100 x score (CLIP's own scale) over the five best classes; bins hold
-- as many predictions each. Reads predictions, images. Parameters: bins, z.
WITH first AS (
  SELECT p.method, i.image_id, p.run_index,
         1 / sum(exp(100 * (p.score::DOUBLE - f.score)) ORDER BY p.rank) AS confidence,
         any_value(f.class_id = i.class_id) AS is_correct
  FROM predictions AS p
  JOIN predictions AS f
    ON f.image_digest = p.image_digest AND f.method = p.method AND f.run_index = p.run_index
   AND f.rank = 1
  JOIN images AS i ON i.image_digest = p.image_digest
  WHERE i.class_id IS NOT NULL
  GROUP BY p.method, i.image_id, p.run_index
),
binned AS (
  SELECT *, ntile($bins) OVER (PARTITION BY method ORDER BY confidence, image_id, run_index) AS bin
  FROM first
),
grouped AS (
  SELECT method, bin,
         count(*) / count(DISTINCT run_index) AS n,  -- images' worth: runs repeat the same images
         count(*) AS prediction_count,
         min(confidence) AS confidence_low,
         max(confidence) AS confidence_high,
         avg(confidence ORDER BY image_id, run_index) AS confidence,
         count(*) FILTER (is_correct) / count(*) AS top1
  FROM binned
  GROUP BY method, bin
)
SELECT method, bin::INTEGER AS bin, prediction_count, confidence_low, confidence_high, confidence, top1,
       greatest(0, (top1 + $z * $z / (2 * n)
         - $z * sqrt(top1 * (1 - top1) / n + $z * $z / (4 * n * n))) / (1 + $z * $z / n)) AS top1_low,
       least(1, (top1 + $z * $z / (2 * n)
         + $z * sqrt(top1 * (1 - top1) / n + $z * $z / (4 * n * n))) / (1 + $z * $z / n)) AS top1_high
FROM grouped
ORDER BY method, bin
