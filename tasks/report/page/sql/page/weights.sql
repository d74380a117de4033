-- weight as a share of what the description would have if all of its class counted the same
SELECT class_name, text, weight,
       weight * count(*) OVER (PARTITION BY class_id) AS relative_weight
FROM description_weights
WHERE run_id = $run_id
ORDER BY relative_weight, class_id, position
LIMIT 20
