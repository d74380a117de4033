WITH $votes
SELECT count(*) AS image_count,
       (SELECT count(*) FROM called WHERE run_id = $first) - image_count AS first_only_count,
       (SELECT count(*) FROM called WHERE run_id = $second) - image_count AS second_only_count,
       count(*) FILTER (first <> second) AS changed_count,
       count(*) FILTER (is_second_right AND NOT is_first_right) AS won_count,
       count(*) FILTER (is_first_right AND NOT is_second_right) AS lost_count
FROM pairs
