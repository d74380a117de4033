SELECT parameter, value, is_base, method, top1, top1_sigma, top1_low, top1_high, image_count,
       encodings, agreement, agreement_low, agreement_high
FROM sweeps
WHERE run_id = $run_id AND split = 'all'
ORDER BY parameter, value_index, list_position($methods, method)
