-- Accuracy of every point on all images. panel: the parameter, and the encoder where several are.
SELECT $panel AS panel,
       s.value, s.is_base, s.method, s.top1, s.top1_sigma, s.top1_low, s.top1_high, s.image_count,
       s.parameter, s.encodings, s.agreement, s.agreement_low, s.agreement_high
FROM sweeps AS s
WHERE s.run_id = $run_id AND s.split = 'all'
ORDER BY s.parameter, $encoder_order,
         s.value_index, list_position($methods, s.method)
