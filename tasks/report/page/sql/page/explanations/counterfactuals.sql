SELECT f.image_digest, f.removed, f.step, f."index", a.class_name, f.margin,
       t.class_name AS class_name_together, f.margin_together, d.text,
       f.class_id <> p.class_id AS is_changed, f.class_id_together <> p.class_id AS is_changed_together
FROM (
  SELECT *, row_number() OVER () AS row_order FROM counterfactuals WHERE run_id = $run_id
) AS f
JOIN explanations AS p ON p.run_id = f.run_id AND p.image_digest = f.image_digest
                      AND p.role = 'predicted'
JOIN classes AS a ON a.run_id = f.run_id AND a.class_id = f.class_id
JOIN classes AS t ON t.run_id = f.run_id AND t.class_id = f.class_id_together
LEFT JOIN descriptions AS d
  ON d.run_id = f.run_id AND d.class_id = p.class_id AND d.position = f."index"
 AND d.kind = 'description' AND f.removed = 'description'
ORDER BY f.row_order
