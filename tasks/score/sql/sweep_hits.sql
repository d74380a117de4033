-- In how many runs each method gets each image right, and the half the image is in: see sweep.sql.
-- Reads predictions, images.
SELECT p.method, i.image_id, right(i.image_digest, 1) < '8' AS is_selection,
       count(*) AS run_count,
       count(*) FILTER (p.class_id = i.class_id) AS hit_count
FROM predictions AS p
JOIN images AS i USING (image_digest)
WHERE p.rank = 1 AND i.class_id IS NOT NULL
GROUP BY p.method, i.image_id, is_selection
ORDER BY p.method, i.image_id
