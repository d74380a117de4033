WITH $votes
SELECT count(*) AS image_count,
       count(*) FILTER (first <> second) AS changed_count,
       count(*) FILTER (is_second_right AND NOT is_first_right) AS won_count,
       count(*) FILTER (is_first_right AND NOT is_second_right) AS lost_count
FROM pairs
