SELECT w.image_digest, w.left_px, w.top_px, w.width_px, w.height_px, w.is_flipped, w.weight
FROM crop_weights AS w
WHERE w.run_id = $run_id
  AND w.image_digest IN $digests
ORDER BY w.image_digest, w.crop_index
