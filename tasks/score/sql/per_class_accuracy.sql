-- One row per method and class that has images. Reads predictions, images, classes.
WITH hits AS (  -- numbers first, names after: there may be millions of predictions
  SELECT p.method,
         i.class_id,
         count(*) AS prediction_count,
         count(*) FILTER (p.run_index = 0) AS image_count,  -- every run predicts every image
         count(*) FILTER (p.class_id = i.class_id) AS hit_count
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE p.rank = 1
  GROUP BY p.method, i.class_id
)
SELECT h.method, h.class_id, c.class_name, h.image_count, h.hit_count / h.prediction_count AS top1
FROM hits AS h
JOIN classes AS c USING (class_id)
ORDER BY h.method, h.class_id
