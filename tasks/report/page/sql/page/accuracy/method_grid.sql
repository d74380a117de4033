SELECT image_side, text_side, method, top1, top1_low, top1_high, run_count, image_count
FROM method_grid
WHERE run_id = $run_id
ORDER BY list_position($image_sides, image_side), list_position($text_sides, text_side)
