SELECT i.image_name, p.method, p.rank, c.class_name, p.score
FROM predictions AS p
JOIN images AS i USING (run_id, image_digest)
JOIN classes AS c ON c.run_id = p.run_id AND c.class_id = p.class_id
WHERE p.run_id = $run_id AND p.run_index = 0
ORDER BY i.image_id, list_position($methods, p.method), p.rank
LIMIT 500
