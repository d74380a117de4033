-- What each crop adds to score(predicted) - score(runner-up), which all of them sum to: its weight
-- in the first run, times the difference of its scores, over the length of the weighted crop sum.
WITH drawn AS (
  SELECT crop_index, draw_count, count(*) FILTER (draw_count > 0) OVER () AS crop_count
  FROM draws
  WHERE run_id = $run_id AND run_index = 0
),
used AS (
  SELECT c.image_digest, c.crop_index, c.left_px, c.top_px, c.width_px, c.height_px, c.is_flipped,
         c.embedding, c.whole_similarity, p.class_id, p.score,
         CASE WHEN u.crop_indices IS NULL THEN coalesce(d.draw_count, 1)
              ELSE list_contains(u.crop_indices, c.crop_index)::INTEGER END AS use_count
  FROM crops AS c
  JOIN explanations AS p
    ON p.run_id = c.run_id AND p.image_digest = c.image_digest AND p.role = 'predicted'
  LEFT JOIN drawn AS d  -- an earlier version explained with each crop of the pool once
    ON d.crop_index = c.crop_index AND d.crop_count = p.crop_count
  LEFT JOIN crop_use AS u
    ON u.run_id = c.run_id AND u.image_digest = c.image_digest
   AND (u.agreement IS NULL) = ($explained = 'wca')
  WHERE c.run_id = $run_id AND c.image_digest IN $digests AND c.crop_index > 0
),
scored AS (
  SELECT u.*,
         u.use_count * exp(coalesce(exp((r.parameters ->> 'image_scale')::DOUBLE), 0)
           * (u.whole_similarity - max(u.whole_similarity) OVER (PARTITION BY u.image_digest))
         ) AS mass,
         list_dot_product(u.embedding, v.embedding) AS predicted_score,
         list_dot_product(u.embedding, w.embedding) AS runner_up_score
  FROM used AS u
  JOIN runs AS r ON r.run_id = $run_id
  JOIN explanations AS o
    ON o.run_id = $run_id AND o.image_digest = u.image_digest AND o.role = 'runner_up'
  JOIN class_vectors AS v
    ON v.run_id = $run_id AND v.method = $explained AND v.class_id = u.class_id
  JOIN class_vectors AS w
    ON w.run_id = $run_id AND w.method = $explained AND w.class_id = o.class_id
)
SELECT image_digest, crop_index, left_px, top_px, width_px, height_px, is_flipped,
       mass * (predicted_score - runner_up_score) * score
         / sum(mass * predicted_score) OVER (PARTITION BY image_digest) AS support
FROM scored
WHERE use_count > 0
ORDER BY image_digest, crop_index
