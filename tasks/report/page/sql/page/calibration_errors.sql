SELECT method, sum(prediction_count * abs(top1 - confidence)) / sum(prediction_count) AS error
FROM calibration
WHERE run_id = $run_id
GROUP BY method
ORDER BY list_position($methods, method)
