-- One row for each question, and one of all answers, whose question is null. Reads answers.
WITH answered AS (
  SELECT question_set || '/' || question AS question, * EXCLUDE (question) FROM answers
),
drops AS (
  SELECT question, dropped_by, count(*) AS n
  FROM answered
  WHERE dropped_by IS NOT NULL
  GROUP BY GROUPING SETS ((question, dropped_by), (dropped_by))
),
listed AS (
  SELECT question, string_agg(dropped_by || ' ' || n, ', ' ORDER BY n DESC, dropped_by) AS dropped
  FROM drops
  GROUP BY question
),
counted AS (
  SELECT question,
         count(DISTINCT class_name) AS classes,
         count(*) AS wanted,
         count(text) AS used,
         count(*) FILTER (text <> answer) AS tidied,
         coalesce(round(sum(prompt_tokens + completion_tokens)), 0)::BIGINT AS tokens,
         sum(cost_usd) AS cost_usd
  FROM answered
  GROUP BY ROLLUP (question)
)
SELECT c.question, c.classes, c.wanted, c.used, c.tidied,
       coalesce(l.dropped, '') AS dropped, c.tokens, c.cost_usd
FROM counted AS c
LEFT JOIN listed AS l ON l.question IS NOT DISTINCT FROM c.question
ORDER BY c.question NULLS LAST
