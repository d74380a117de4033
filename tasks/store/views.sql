-- Views that answer common questions; created in every snapshot.

-- The last run of each data set: a query over all runs would count its images several times.
CREATE OR REPLACE VIEW latest_runs AS
FROM runs
WHERE flow_name IN ('benchmark', 'classify')
QUALIFY row_number() OVER (PARTITION BY dataset_name, root, parameters ->> 'split'
                           ORDER BY last_finished_at DESC, run_id) = 1;

-- Every prediction with names; a filter on any column reaches the files.
CREATE OR REPLACE VIEW image_predictions AS
SELECT p.run_id,
       i.image_name,
       true_class.class_name,
       p.method,
       p.run_index,
       p.rank,
       predicted.class_name AS predicted_class_name,
       p.class_id = i.class_id AS is_correct,
       p.score,
       i.image_id,
       i.image_digest,
       i.class_id,
       p.class_id AS predicted_class_id
FROM predictions AS p
JOIN images AS i USING (run_id, image_digest)
JOIN classes AS predicted ON predicted.run_id = p.run_id AND predicted.class_id = p.class_id
LEFT JOIN classes AS true_class
  ON true_class.run_id = i.run_id AND true_class.class_id = i.class_id;

-- How much each description of a class counts in WCA: a softmax over the class's descriptions.
CREATE OR REPLACE VIEW description_weights AS
WITH similarities AS (
  SELECT d.run_id, d.class_id, d.class_name, d.position, d.text,
         list_dot_product(e.embedding, l.embedding) AS label_similarity,
         exp((r.parameters ->> 'text_scale')::DOUBLE) AS logit_scale
  FROM descriptions AS d
  JOIN runs AS r USING (run_id)
  JOIN text_embeddings AS e USING (run_id, text)
  JOIN descriptions AS ld
    ON ld.run_id = d.run_id AND ld.class_id = d.class_id AND ld.kind = 'label'
  JOIN text_embeddings AS l ON l.run_id = d.run_id AND l.text = ld.text
  WHERE d.kind = 'description'
),
masses AS (  -- a text_scale of null switches the weights off: every description counts the same
  SELECT *, exp(coalesce(logit_scale, 0) * (label_similarity
              - max(label_similarity) OVER (PARTITION BY run_id, class_id))) AS mass
  FROM similarities
)
SELECT run_id, class_id, class_name, position, text, label_similarity,
       mass / sum(mass) OVER (PARTITION BY run_id, class_id) AS weight
FROM masses;

-- How much each crop of an image counts in WCA: a softmax over the pool, or over those of its
-- crops that are embedded.
CREATE OR REPLACE VIEW crop_weights AS
WITH masses AS (
  SELECT c.run_id, c.image_digest, c.crop_index, c.left_px, c.top_px, c.width_px,
         c.height_px, c.is_flipped, c.whole_similarity,
         exp(coalesce(exp((r.parameters ->> 'image_scale')::DOUBLE), 0) * (c.whole_similarity
           - max(c.whole_similarity) OVER (PARTITION BY c.run_id, c.image_digest))) AS mass
  FROM crops AS c
  JOIN runs AS r USING (run_id)
  WHERE c.crop_index > 0
)
SELECT * EXCLUDE (mass), mass / sum(mass) OVER (PARTITION BY run_id, image_digest) AS weight
FROM masses;
