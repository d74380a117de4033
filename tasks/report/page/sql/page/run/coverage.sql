SELECT image_count AS file_count, image_count - rejected_count AS scored_count, rejected_count
FROM runs
WHERE run_id = $run_id
