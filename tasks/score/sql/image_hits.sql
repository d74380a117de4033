-- In how many runs each method gets each image right. Reads predictions, images.
SELECT p.method,
       i.class_id,
       i.image_id,
       count(*) FILTER (p.rank = 1) AS run_count,
       count(*) FILTER (p.rank = 1 AND p.class_id = i.class_id) AS first_count,
       count(*) FILTER (p.rank <= 5 AND p.class_id = i.class_id) AS five_count
FROM predictions AS p
JOIN images AS i USING (image_digest)
WHERE i.class_id IS NOT NULL
GROUP BY p.method, i.class_id, i.image_id
ORDER BY p.method, i.class_id, i.image_id
