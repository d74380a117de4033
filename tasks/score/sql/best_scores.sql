-- The five best scores of every prediction side by side, and whether the first class is right. The
-- last digit of an image's digest, which knows nothing of its label, decides its half. Of methods
-- whose names are given. Reads predictions, images. Parameter: methods.
SELECT p.method,
       p.run_index,
       right(i.image_digest, 1) < '8' AS is_first_half,
       max(p.score) FILTER (p.rank = 1) AS score_1,
       max(p.score) FILTER (p.rank = 2) AS score_2,
       max(p.score) FILTER (p.rank = 3) AS score_3,
       max(p.score) FILTER (p.rank = 4) AS score_4,
       max(p.score) FILTER (p.rank = 5) AS score_5,
       bool_or(p.rank = 1 AND p.class_id = i.class_id) AS is_correct
FROM predictions AS p
JOIN images AS i USING (image_digest)
WHERE i.class_id IS NOT NULL AND p.method IN (SELECT unnest($methods))
GROUP BY p.method, i.image_id, is_first_half, p.run_index
ORDER BY p.method, i.image_id, p.run_index
