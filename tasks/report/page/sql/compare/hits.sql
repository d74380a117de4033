-- In how many runs the method gets each image right that both runs scored with a label.
WITH hits AS (
  SELECT p.run_id, p.image_digest, count(*) AS run_count,
         count(*) FILTER (p.class_id = i.class_id) AS hit_count
  FROM predictions AS p
  JOIN (
    SELECT run_id, image_digest, arg_min(class_id, image_id) AS class_id
    FROM images
    WHERE run_id IN ($first, $second)
    GROUP BY run_id, image_digest
  ) AS i USING (run_id, image_digest)
  WHERE p.run_id IN ($first, $second) AND p.method = $method AND p.rank = 1
    AND i.class_id IS NOT NULL
  GROUP BY p.run_id, p.image_digest
)
SELECT f.hit_count AS first, f.run_count AS first_runs, s.hit_count AS second, s.run_count AS second_runs
FROM (FROM hits WHERE run_id = $first) AS f
JOIN (FROM hits WHERE run_id = $second) AS s USING (image_digest)
ORDER BY image_digest
