-- The first images of each pair of classes that is confused most, in the first run.
SELECT i.class_id, p.class_id AS predicted_class_id, i.image_name, i.image_digest
FROM predictions AS p
JOIN images AS i USING (run_id, image_digest)
JOIN ($confusion) AS f ON f.class_id = i.class_id AND f.predicted_class_id = p.class_id
WHERE p.run_id = $run_id AND p.method = $method AND p.run_index = 0 AND p.rank = 1
  AND p.class_id <> i.class_id
QUALIFY row_number() OVER (PARTITION BY i.class_id, p.class_id ORDER BY i.image_id) <= 4
ORDER BY i.class_id, p.class_id, i.image_id
