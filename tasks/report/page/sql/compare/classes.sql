SELECT f.class_name, f.image_count AS first_images, s.image_count AS second_images,
       f.top1 AS first, s.top1 AS second, s.top1 - f.top1 AS difference
FROM per_class_accuracy AS f
JOIN per_class_accuracy AS s
  ON s.run_id = $second AND s.method = f.method AND s.class_id = f.class_id
 AND s.class_name = f.class_name
WHERE f.run_id = $first AND f.method = $method AND s.top1 <> f.top1
ORDER BY abs(difference) DESC, f.class_id
