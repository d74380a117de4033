SELECT bin, prediction_count, confidence_low, confidence_high, confidence, top1, top1_low, top1_high
FROM calibration
WHERE run_id = $run_id AND method = $method
ORDER BY bin
