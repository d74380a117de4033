-- How many images each run of each method gets right, by class. Reads predictions, images.
SELECT p.method,
       p.run_index,
       i.class_id,
       count(*) FILTER (p.rank = 1) AS image_count,
       count(*) FILTER (p.rank = 1 AND p.class_id = i.class_id) AS first_count,
       count(*) FILTER (p.rank <= 5 AND p.class_id = i.class_id) AS five_count
FROM predictions AS p
JOIN images AS i USING (image_digest)
WHERE i.class_id IS NOT NULL
GROUP BY p.method, p.run_index, i.class_id
ORDER BY p.method, p.run_index, i.class_id
