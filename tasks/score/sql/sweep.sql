-- Accuracy by method over all images and over two halves: the last digit of an image's digest, which
-- knows nothing of its label, decides its half. Reads predictions, images.
WITH placed AS (
  SELECT p.method, p.run_index,
         unnest(['all', CASE WHEN right(i.image_digest, 1) < '8' THEN 'selection'
                             ELSE 'evaluation' END]) AS split,
         p.class_id = i.class_id AS is_correct
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE p.rank = 1 AND i.class_id IS NOT NULL
),
hits AS (
  SELECT method, split, run_index, count(*) AS n, count(*) FILTER (is_correct) AS hit_count
  FROM placed
  GROUP BY method, split, run_index
),
means AS (  -- over whole numbers, whose sums are exact in any order
  SELECT method, split,
         max(n) AS image_count,
         count(*) AS run_count,
         sum(hit_count) / (max(n) * count(*)) AS top1,
         sqrt(count(*) * sum(hit_count * hit_count) - sum(hit_count) * sum(hit_count))
           / (max(n) * count(*)) AS top1_sigma
  FROM hits
  GROUP BY method, split
)
SELECT method, split, image_count, run_count, top1, top1_sigma,
       wilson_low(top1, image_count) AS top1_low,
       wilson_high(top1, image_count) AS top1_high
FROM means
ORDER BY method, split
