-- One row per method and class that has images. Reads predictions, images, classes.
SELECT p.method,
       i.class_id,
       c.class_name,
       count(DISTINCT i.image_id) AS image_count,
       avg((p.class_id = i.class_id)::DOUBLE) AS top1
FROM predictions AS p
JOIN images AS i USING (image_digest)
JOIN classes AS c ON c.class_id = i.class_id
WHERE p.rank = 1
GROUP BY p.method, i.class_id, c.class_name
ORDER BY p.method, i.class_id
