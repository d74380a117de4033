-- Whether confident predictions are right more often: one row per method and bin of predictions.
-- Confidence is the softmax of logit_scale x score over the five best classes or, where the encoder
-- has a logit bias, the sigmoid of logit_scale x score + logit_bias of the best; bins hold as many
-- predictions each. Reads predictions, images. Parameters: bins, logit_scale, logit_bias (or null).
WITH scored AS (  -- the five scores side by side, so that nothing is joined with itself
  SELECT p.method, i.image_id, p.run_index,
         max(p.score) FILTER (p.rank = 1)::DOUBLE AS s1,
         max(p.score) FILTER (p.rank = 2) AS s2,
         max(p.score) FILTER (p.rank = 3) AS s3,
         max(p.score) FILTER (p.rank = 4) AS s4,
         max(p.score) FILTER (p.rank = 5) AS s5,
         bool_or(p.rank = 1 AND p.class_id = i.class_id) AS is_correct
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE i.class_id IS NOT NULL
  GROUP BY p.method, i.image_id, p.run_index
),
first AS (
  SELECT method, image_id, run_index, is_correct,
         CASE WHEN $logit_bias IS NULL
              THEN 1 / (1 + coalesce(exp($logit_scale * (s2 - s1)), 0)
                          + coalesce(exp($logit_scale * (s3 - s1)), 0)
                          + coalesce(exp($logit_scale * (s4 - s1)), 0)
                          + coalesce(exp($logit_scale * (s5 - s1)), 0))
              ELSE 1 / (1 + exp(-($logit_scale * s1 + $logit_bias))) END AS confidence
  FROM scored
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
       wilson_low(top1, n) AS top1_low, wilson_high(top1, n) AS top1_high
FROM grouped
ORDER BY method, bin
