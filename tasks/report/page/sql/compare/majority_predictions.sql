-- The class that each run predicts for each image in most of its runs.
prediction_counts AS (
  SELECT p.run_id, p.image_digest, p.class_id, c.class_name, count(*) AS prediction_count,
         any_value(i.image_name ORDER BY i.image_id) AS image_name,
         any_value(i.class_id ORDER BY i.image_id) AS label_id,
         any_value(l.class_name ORDER BY i.image_id) AS label
  FROM predictions AS p
  JOIN images AS i USING (run_id, image_digest)
  JOIN classes AS c ON c.run_id = p.run_id AND c.class_id = p.class_id
  LEFT JOIN classes AS l ON l.run_id = i.run_id AND l.class_id = i.class_id
  WHERE p.run_id IN ($first, $second) AND p.method = $method AND p.rank = 1
  GROUP BY p.run_id, p.image_digest, p.class_id, c.class_name
),
majority_predictions AS (  -- of equal counts, the lower class_id
  FROM prediction_counts
  QUALIFY row_number() OVER (
    PARTITION BY run_id, image_digest ORDER BY prediction_count DESC, class_id) = 1
),
image_pairs AS (  -- several classes may have one name: class_id decides what is right, as in `accuracy`
  SELECT f.image_digest, f.image_name, f.label, f.class_name AS first, s.class_name AS second,
         f.class_id = f.label_id AS is_first_right, s.class_id = s.label_id AS is_second_right
  FROM (FROM majority_predictions WHERE run_id = $first) AS f
  JOIN (FROM majority_predictions WHERE run_id = $second) AS s USING (image_digest)
)
