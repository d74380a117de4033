SELECT run_id, dataset_name, encoder_name, precision,
       first_finished_at::VARCHAR AS first_finished_at
FROM runs
WHERE run_id = $run_id
