SELECT run_id, flow_name, dataset_name, encoder_name, weights_digest, precision,
       parameters, parameters ->> 'crop_strategy' AS crop_strategy, encoder, versions, command,
       first_finished_at::VARCHAR AS first_finished_at
FROM runs
WHERE run_id = $run_id
