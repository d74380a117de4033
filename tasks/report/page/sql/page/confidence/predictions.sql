SELECT image_name, method, prediction, predicted_class_name, score, probability, margin,
       runner_up_class_name
FROM best_predictions
WHERE run_id = $run_id AND run_index = 0
ORDER BY prediction = predicted_class_name, margin, image_id, list_position($methods, method)
LIMIT 500
