WITH gained AS (
  SELECT CASE WHEN is_own THEN 'own' ELSE 'other' END AS pairs, gain
  FROM alignments
  WHERE run_id = $run_id
  UNION ALL
  SELECT 'matched', gain
  FROM matched_alignments
  WHERE run_id = $run_id
)
SELECT pairs, floor(gain / 0.01) / 100 AS gain_low, count(*) AS pair_count,
       count(*) / sum(count(*)) OVER (PARTITION BY pairs) AS share
FROM gained
GROUP BY pairs, floor(gain / 0.01)
ORDER BY list_position(['own', 'other', 'matched'], pairs), gain_low
