-- WCA stated once more, wholly in SQL: the definition that the torch path is tested against. Reads crops, descriptions, text_embeddings.
-- Parameters: image_scale, text_scale (the paper's exponents 4 and 2); every crop counts once.
WITH crop_weights AS (
  SELECT c.image_digest,
         c.crop_index,
         c.embedding,
         exp(exp($image_scale) * list_dot_product(c.embedding::DOUBLE[], w.embedding::DOUBLE[])) AS mass
  FROM crops AS c
  JOIN crops AS w ON w.image_digest = c.image_digest AND w.crop_index = 0
  WHERE c.crop_index > 0
),
text_weights AS (
  SELECT d.class_id,
         d.position,
         e.embedding,
         exp(exp($text_scale) * list_dot_product(e.embedding::DOUBLE[], l.embedding::DOUBLE[])) AS mass
  FROM descriptions AS d
  JOIN text_embeddings AS e USING (text)
  JOIN descriptions AS ld ON ld.class_id = d.class_id AND ld.kind = 'label'
  JOIN text_embeddings AS l ON l.text = ld.text
  WHERE d.kind = 'description'
)
SELECT c.image_digest,
       t.class_id,
       sum(c.mass * t.mass * list_dot_product(c.embedding::DOUBLE[], t.embedding::DOUBLE[]))
         / sum(c.mass * t.mass) AS score
FROM crop_weights AS c
CROSS JOIN text_weights AS t
GROUP BY c.image_digest, t.class_id
ORDER BY c.image_digest, t.class_id
