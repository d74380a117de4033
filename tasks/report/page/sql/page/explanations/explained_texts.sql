SELECT t.image_digest, t.class_id, c.class_name, t.position, d.text, t.text_weight,
       t.whole_similarity, t.weighted_similarity, t.best_similarity, t.support
FROM (
  SELECT *, row_number() OVER () AS row_order FROM explained_texts WHERE run_id = $run_id
) AS t
JOIN classes AS c USING (run_id, class_id)
JOIN descriptions AS d
  ON d.run_id = t.run_id AND d.class_id = t.class_id AND d.position = t.position
 AND d.kind = 'description'
ORDER BY t.row_order
