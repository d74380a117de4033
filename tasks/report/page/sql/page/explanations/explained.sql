SELECT e.image_digest, any_value(i.image_name ORDER BY i.image_id) AS image_name,
       any_value(l.class_name ORDER BY i.image_id) AS label, e.role, e.class_id,
       any_value(c.class_name) AS class_name, any_value(e.score) AS score,
       any_value(e.whole_score) AS whole_score, any_value(e.crop_count) AS crop_count
FROM (
  SELECT *, row_number() OVER () AS row_order FROM explanations WHERE run_id = $run_id
) AS e
JOIN images AS i USING (run_id, image_digest)
JOIN classes AS c ON c.run_id = e.run_id AND c.class_id = e.class_id
LEFT JOIN classes AS l ON l.run_id = e.run_id AND l.class_id = i.class_id
GROUP BY e.row_order, e.image_digest, e.role, e.class_id
ORDER BY e.row_order
