SELECT image_name, reason
FROM rejected
WHERE run_id = $run_id
ORDER BY image_id
LIMIT 200
