-- Sums over the pairs of each image, apart for its own class's descriptions and for the control.
-- Reads alignments.
SELECT CASE WHEN is_own THEN 'own' ELSE 'other' END AS pairs,
       image_digest,
       count(*) AS pair_sum,
       count(*) FILTER (gain > 0) AS better_sum,
       sum(gain::DOUBLE ORDER BY class_id, position) AS gain_sum,
       sum(better_crop_share ORDER BY class_id, position) AS crop_better_sum
FROM alignments
GROUP BY is_own, image_digest
ORDER BY pairs, image_digest
