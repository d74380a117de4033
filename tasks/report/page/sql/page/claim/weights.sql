-- relative_weight is 1 where the description has the mean weight of its class.
SELECT class_name, text, weight,
       weight * count(*) OVER (PARTITION BY class_id) AS relative_weight
FROM description_weights
WHERE run_id = $run_id
ORDER BY relative_weight, class_id, position
LIMIT 20
