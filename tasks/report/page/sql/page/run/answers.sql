SELECT llm, count(*) AS answer_count, count(text) AS used_count,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       sum(cost_usd) AS cost_usd
FROM answers
WHERE run_id = $run_id
GROUP BY llm
ORDER BY llm
