SELECT ceil(20 * coverage - 1e-9) / 20 AS coverage_step, arg_max(threshold, coverage) AS threshold,
       max(answered_count) AS answered_count, arg_max(risk, coverage) AS risk,
       wilson_low(arg_max(risk, coverage), max(answered_count)) AS risk_low,
       wilson_high(arg_max(risk, coverage), max(answered_count)) AS risk_high
FROM risk_coverage
WHERE run_id = $run_id AND method = $method
GROUP BY coverage_step
ORDER BY coverage_step
