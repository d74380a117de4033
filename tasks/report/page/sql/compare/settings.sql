-- Every parameter, and what else decides the numbers, that differs between the two runs.
WITH entries AS (
  SELECT run_id, unnest(map_entries(json_transform(parameters, '"MAP(VARCHAR, JSON)"'))) AS entry
  FROM runs
),
named AS (
  SELECT run_id, entry.key AS setting, entry.value::VARCHAR AS value FROM entries
  UNION ALL SELECT run_id, 'data set', dataset_name FROM runs
  UNION ALL SELECT run_id, 'encoder', encoder_name FROM runs
  UNION ALL SELECT run_id, 'encoder weights', weights_digest FROM runs
  UNION ALL SELECT run_id, 'precision', precision FROM runs
  UNION ALL
  SELECT run_id, table_name || ' table', string_agg(left(digest, 12), ' ' ORDER BY digest)
  FROM run_tables
  WHERE table_name IN ('images', 'classes', 'descriptions', 'crops')
  GROUP BY run_id, table_name
)
SELECT coalesce(f.setting, s.setting) AS setting, coalesce(f.value, 'none') AS first, coalesce(s.value, 'none') AS second
FROM (FROM named WHERE run_id = $first) AS f
FULL JOIN (FROM named WHERE run_id = $second) AS s USING (setting)
WHERE f.value IS DISTINCT FROM s.value
ORDER BY setting
