WITH $majority_predictions
SELECT count(*) AS image_count,
       (SELECT count(*) FROM majority_predictions WHERE run_id = $first) - image_count
         AS first_only_count,
       (SELECT count(*) FROM majority_predictions WHERE run_id = $second) - image_count
         AS second_only_count,
       count(*) FILTER (first <> second) AS changed_count,
       count(*) FILTER (is_second_right AND NOT is_first_right) AS only_second_right_count,
       count(*) FILTER (is_first_right AND NOT is_second_right) AS only_first_right_count
FROM image_pairs
