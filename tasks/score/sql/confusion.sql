-- One row per method and pair of labelled and predicted class. Reads predictions, images, classes.
WITH runs AS (
  SELECT method, count(DISTINCT run_index) AS run_count FROM predictions GROUP BY method
)
SELECT p.method,
       i.class_id,
       c.class_name,
       p.class_id AS predicted_class_id,
       pc.class_name AS predicted_class_name,
       count(*) / any_value(r.run_count) AS image_count
FROM predictions AS p
JOIN runs AS r USING (method)
JOIN images AS i USING (image_digest)
JOIN classes AS c ON c.class_id = i.class_id
JOIN classes AS pc ON pc.class_id = p.class_id
WHERE p.rank = 1
GROUP BY p.method, i.class_id, c.class_name, p.class_id, pc.class_name
ORDER BY p.method, i.class_id, p.class_id
