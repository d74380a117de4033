SELECT method, avg(risk) AS area, arg_max(risk, coverage) FILTER (coverage <= 0.5) AS half_risk,
       arg_max(risk, coverage) FILTER (coverage <= 0.8) AS most_risk,
       arg_max(risk, coverage) AS whole_risk
FROM risk_coverage
WHERE run_id = $run_id
GROUP BY method
ORDER BY list_position($methods, method)
