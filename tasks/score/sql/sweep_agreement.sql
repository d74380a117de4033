-- In how many of its runs each method gives an image the class that it has over the whole pool; the
-- half the image is in is as in sweep.sql. Reads predictions, whole_pool. A method that takes as many
-- crops as settle a class is held against the method that takes them all.
WITH reference AS (
  SELECT method, image_digest, class_id
  FROM whole_pool
  WHERE rank = 1 AND run_index = 0
),
hits AS (
  SELECT p.method, right(p.image_digest, 1) < '8' AS is_selection,
         avg((p.class_id = r.class_id)::INT) AS same_share
  FROM predictions AS p
  JOIN reference AS r
    ON r.image_digest = p.image_digest
   AND r.method = coalesce(map {'wca_adaptive': 'wca', 'mean_adaptive': 'mean_crops'}[p.method],
                           p.method)
  WHERE p.rank = 1
  GROUP BY p.method, p.image_digest
),
placed AS (
  SELECT method, same_share,
         unnest(['all', CASE WHEN is_selection THEN 'selection' ELSE 'evaluation' END]) AS split
  FROM hits
),
means AS (
  SELECT method, split, count(*) AS image_count, round(avg(same_share), 12) AS agreement
  FROM placed
  GROUP BY method, split
)
SELECT method, split, agreement,
       wilson_low(agreement, image_count) AS agreement_low,
       wilson_high(agreement, image_count) AS agreement_high
FROM means
ORDER BY method, split
