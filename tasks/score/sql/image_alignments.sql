-- Sums over the pairs of each image, apart for the descriptions of its own class, for the drawn
-- control, and for the own descriptions that have a match and for their matches.
-- Reads alignments, matched_alignments.
WITH grouped AS (
  SELECT CASE WHEN is_own THEN 'own' ELSE 'other' END AS pairs,
         image_digest, class_id, position, whole_similarity, gain, better_crop_share
  FROM alignments
  UNION ALL
  SELECT 'own_matched', image_digest, class_id, position, whole_similarity, gain, better_crop_share
  FROM alignments
  SEMI JOIN matched_alignments USING (image_digest, class_id, position)
  WHERE is_own
  UNION ALL
  SELECT 'matched', image_digest, class_id, position, whole_similarity, gain, better_crop_share
  FROM matched_alignments
)
SELECT pairs,
       image_digest,
       count(*) AS pair_sum,
       sum(whole_similarity::DOUBLE ORDER BY class_id, position) AS whole_sum,
       count(*) FILTER (gain > 0) AS better_sum,
       sum(gain::DOUBLE ORDER BY class_id, position) AS gain_sum,
       sum(better_crop_share ORDER BY class_id, position) AS crop_better_sum
FROM grouped
GROUP BY pairs, image_digest
ORDER BY pairs, image_digest
