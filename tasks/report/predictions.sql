-- One row for each file of a run and method: what is answered, or why it was rejected. Reads
-- method_facts (method, needs_crops, is_adaptive). Parameters: run_id, method (null: all).
WITH used AS (
  SELECT i.image_id, p.* EXCLUDE (image_id),
         CASE WHEN m.needs_crops THEN coalesce(
           u.crop_count,
           CASE WHEN (r.parameters ->> 'runs')::INTEGER = 0
                THEN (r.parameters ->> 'pool')::INTEGER
                ELSE try_cast(r.parameters ->> 'crops' AS INTEGER) END)
         ELSE 0 END AS crop_count
  FROM best_predictions AS p
  JOIN images AS i ON i.run_id = p.run_id AND i.image_id = p.image_id
  JOIN runs AS r ON r.run_id = p.run_id
  JOIN method_facts AS m ON m.method = p.method
  LEFT JOIN crop_use AS u
    ON u.run_id = p.run_id AND u.image_digest = p.image_digest
   AND (u.agreement IS NOT NULL) = m.is_adaptive
  WHERE p.run_id = $run_id AND p.run_index = 0 AND ($method IS NULL OR p.method = $method)
)
SELECT i.image_name, u.prediction, u.score, u.probability, u.margin, u.runner_up_class_name,
       u.predicted_class_name, u.crop_count, u.method, i.image_digest, r.reason
FROM images AS i
LEFT JOIN used AS u ON u.image_id = i.image_id
LEFT JOIN rejected AS r ON r.run_id = i.run_id AND r.image_id = i.image_id
WHERE i.run_id = $run_id
ORDER BY i.image_id, u.method
