WITH $majority_predictions
SELECT image_name, image_digest, label, first, second, is_first_right, is_second_right
FROM image_pairs
WHERE first <> second
ORDER BY coalesce(is_second_right, false) DESC, coalesce(is_first_right, false) DESC, label, image_digest
LIMIT 300
