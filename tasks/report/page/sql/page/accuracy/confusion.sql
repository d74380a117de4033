SELECT f.class_id, f.class_name, f.predicted_class_id, f.predicted_class_name, f.image_count,
       f.image_count / c.image_count AS share
FROM confusion AS f
JOIN per_class_accuracy AS c USING (run_id, method, class_id)
WHERE f.run_id = $run_id AND f.method = $method AND f.class_id <> f.predicted_class_id
ORDER BY f.image_count DESC, share DESC, f.class_id, f.predicted_class_id
LIMIT 12
