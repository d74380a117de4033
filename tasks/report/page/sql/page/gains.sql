SELECT CASE WHEN is_own THEN 'own' ELSE 'other' END AS pairs,
       floor(gain / 0.01) / 100 AS gain_low, count(*) AS pair_count,
       count(*) / sum(count(*)) OVER (PARTITION BY is_own) AS share
FROM alignments
WHERE run_id = $run_id
GROUP BY is_own, floor(gain / 0.01)
ORDER BY is_own DESC, gain_low
