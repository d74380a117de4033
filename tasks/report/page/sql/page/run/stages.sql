-- The first execution of the run.
SELECT stage, duration_sec, table_count, reused_count
FROM executions
WHERE run_id = $run_id
QUALIFY rank() OVER (ORDER BY finished_at, flow_run_id) = 1
ORDER BY row_number() OVER ()
