-- Equally many images of each label where possible, wrong predictions first.
SELECT i.image_name, i.image_digest, l.class_name, c.class_name AS predicted_class_name, p.score,
       p.class_id = i.class_id AS is_correct
FROM predictions AS p
JOIN images AS i USING (run_id, image_digest)
JOIN classes AS c ON c.run_id = p.run_id AND c.class_id = p.class_id
LEFT JOIN classes AS l ON l.run_id = i.run_id AND l.class_id = i.class_id
WHERE p.run_id = $run_id AND p.method = $method AND p.run_index = 0 AND p.rank = 1
ORDER BY row_number() OVER (PARTITION BY i.class_id ORDER BY p.class_id = i.class_id, i.image_id),
         i.class_id, i.image_id
LIMIT 200
