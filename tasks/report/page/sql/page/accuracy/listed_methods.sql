SELECT method
FROM accuracy
WHERE run_id = $run_id
  AND (method NOT IN (SELECT method FROM method_grid WHERE run_id = $run_id)
       OR method IN (SELECT unnest([method, baseline_method]) FROM comparisons WHERE run_id = $run_id))
