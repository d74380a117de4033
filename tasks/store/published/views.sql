-- Views that answer common questions; created in every snapshot.

CREATE OR REPLACE VIEW latest_runs AS
FROM runs
WHERE flow_name IN ('benchmark', 'classify')
QUALIFY row_number() OVER (PARTITION BY dataset_name, root, parameters ->> 'split'
                           ORDER BY last_finished_at DESC, run_id) = 1;
COMMENT ON VIEW latest_runs IS
'The last run of each data set: a query over all runs would count its images several times.';

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
COMMENT ON VIEW image_predictions IS
'Every prediction with names; a filter on any column reaches the files.';

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
COMMENT ON VIEW description_weights IS
'How much each description of a class counts in WCA: a softmax over the class''s descriptions.';

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
COMMENT ON VIEW crop_weights IS
'How much each crop of an image counts in WCA: a softmax over the pool, or over those of its
crops that are embedded.';

CREATE OR REPLACE VIEW best_predictions AS
WITH ranked AS (
  SELECT run_id, image_digest, method, run_index,
         list(score ORDER BY rank) AS scores, list(class_id ORDER BY rank) AS class_ids
  FROM predictions
  GROUP BY run_id, image_digest, method, run_index
),
scaled AS (
  SELECT p.*, (r.parameters ->> 'threshold')::DOUBLE AS threshold,
         (r.encoder ->> 'logit_scale')::DOUBLE AS logit_scale,
         (r.encoder ->> 'logit_bias')::DOUBLE AS logit_bias
  FROM ranked AS p
  JOIN runs AS r USING (run_id)
)
SELECT p.run_id,
       i.image_name,
       p.method,
       p.run_index,
       CASE WHEN p.scores[1] < p.threshold THEN 'unknown' ELSE best.class_name END AS prediction,
       best.class_name AS predicted_class_name,
       p.scores[1] AS score,
       CASE WHEN p.method IN ('zero', 'soft_match') THEN NULL
            WHEN p.logit_bias IS NULL
            THEN 1 / list_sum([exp(p.logit_scale * (s - p.scores[1])) FOR s IN p.scores])
            ELSE 1 / (1 + exp(-(p.logit_scale * p.scores[1] + p.logit_bias))) END AS probability,
       p.scores[1] - p.scores[2] AS margin,
       runner_up.class_name AS runner_up_class_name,
       true_class.class_name,
       p.class_ids[1] = i.class_id AS is_correct,
       p.threshold,
       i.image_id,
       p.image_digest
FROM scaled AS p
JOIN images AS i ON i.run_id = p.run_id AND i.image_digest = p.image_digest
JOIN classes AS best ON best.run_id = p.run_id AND best.class_id = p.class_ids[1]
LEFT JOIN classes AS runner_up
  ON runner_up.run_id = p.run_id AND runner_up.class_id = p.class_ids[2]
LEFT JOIN classes AS true_class
  ON true_class.run_id = p.run_id AND true_class.class_id = i.class_id;
COMMENT ON VIEW best_predictions IS
'What is answered for each image, one row for each method and run: the best class, or `unknown`
where its score is below the threshold of the run. Probability is a softmax of the encoder''s logits
over the five best classes, or a sigmoid if it has a logit bias; null where scores are no cosines.';

CREATE OR REPLACE VIEW risk_coverage AS
SELECT run_id, method, score AS threshold, answered_count,
       answered_count / count(*) OVER of_method AS coverage,
       wrong_count / answered_count AS risk
FROM (
  SELECT run_id, method, score,
         row_number() OVER by_score AS answered_count,
         sum((NOT is_correct)::INTEGER) OVER by_score AS wrong_count  -- FILTER makes it quadratic
  FROM image_predictions
  WHERE rank = 1 AND run_index = 0 AND is_correct IS NOT NULL
  WINDOW by_score AS (PARTITION BY run_id, method ORDER BY score DESC, image_id
                      ROWS UNBOUNDED PRECEDING)
)
WINDOW of_method AS (PARTITION BY run_id, method);
COMMENT ON VIEW risk_coverage IS
'What a threshold on the score would do to labelled images in the first run of each method: with
the score of each image as the threshold, the share that is answered, and the share of those that
is wrong. The mean of `risk` is the area under risk against coverage.';

-- The rows of a table or a view of the last run of each data set: FROM latest('accuracy').
CREATE OR REPLACE MACRO latest(name) AS TABLE
SELECT rows.* FROM query_table(name) AS rows JOIN latest_runs USING (run_id);
