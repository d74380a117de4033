SELECT p.image_digest, p.class_id, c.class_name, p.rank, p.crop_index, d.text, p.similarity,
       p.text_weight, p.crop_weight, p.support, k.left_px, k.top_px,
       k.width_px, k.height_px, k.is_flipped
FROM (
  SELECT *, row_number() OVER () AS row_order FROM explained_pairs WHERE run_id = $run_id
) AS p
JOIN classes AS c USING (run_id, class_id)
JOIN crops AS k USING (run_id, image_digest, crop_index)
JOIN descriptions AS d
  ON d.run_id = p.run_id AND d.class_id = p.class_id AND d.position = p.position
 AND d.kind = 'description'
WHERE p.rank <= 3
ORDER BY p.row_order
