-- One row per method and pair of labelled and predicted class. Reads predictions, images, classes.
WITH runs AS (
  SELECT method, count(DISTINCT run_index) AS run_count FROM predictions GROUP BY method
),
pairs AS (  -- numbers first, names after: there may be millions of predictions
  SELECT p.method, i.class_id, p.class_id AS predicted_class_id, count(*) AS prediction_count
  FROM predictions AS p
  JOIN images AS i USING (image_digest)
  WHERE p.rank = 1
  GROUP BY p.method, i.class_id, p.class_id
)
SELECT p.method,
       p.class_id,
       c.class_name,
       p.predicted_class_id,
       pc.class_name AS predicted_class_name,
       p.prediction_count / r.run_count AS image_count
FROM pairs AS p
JOIN runs AS r USING (method)
JOIN classes AS c ON c.class_id = p.class_id
JOIN classes AS pc ON pc.class_id = p.predicted_class_id
ORDER BY p.method, p.class_id, p.predicted_class_id
