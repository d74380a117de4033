-- Which images are explained: in turns those that only that method gets right, only CLIP, neither, both, so
-- that a few show every outcome; within each in the order of digests, which is as good as drawn.
-- Reads predictions, images. Parameters: count, method.
WITH first AS (
  SELECT i.image_digest,
         arg_min(i.class_id, i.image_id) AS label,  -- of an image listed twice the first counts
         min(i.image_id) AS image_id,
         bool_or(p.class_id = i.class_id) FILTER (p.method = $method) AS is_wca_right,
         bool_or(p.class_id = i.class_id) FILTER (p.method = 'clip') AS is_clip_right
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE p.rank = 1 AND p.run_index = 0
  GROUP BY i.image_digest
),
grouped AS (
  SELECT image_digest, label, CASE WHEN label IS NULL THEN image_id END AS place,
         CASE WHEN is_wca_right AND NOT is_clip_right THEN 0
              WHEN is_clip_right AND NOT is_wca_right THEN 1
              WHEN NOT is_wca_right THEN 2
              ELSE 3 END AS outcome
  FROM first
)
SELECT image_digest, label
FROM grouped
ORDER BY row_number() OVER (PARTITION BY outcome ORDER BY place, image_digest), outcome
LIMIT $count
