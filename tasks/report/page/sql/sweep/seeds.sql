-- Accuracy over the seeds of a sweep: the mean, the standard deviation between seeds, and what the
-- runs of one seed let expect of it (the root of the mean square of seed_sigma).
SELECT s.encoder_name, s.method, count(*) AS seed_count,
       avg(s.top1 ORDER BY s.value_index) AS mean_top1,
       stddev_samp(s.top1 ORDER BY s.value_index) AS deviation,
       sqrt(avg(s.seed_sigma * s.seed_sigma ORDER BY s.value_index)) AS estimated_deviation,
       min(s.top1) AS lowest_top1, max(s.top1) AS highest_top1, max(s.image_count) AS image_count
FROM sweeps AS s
WHERE s.run_id = $run_id AND s.split = 'all' AND s.parameter = 'seed'
GROUP BY s.run_id, s.encoder_name, s.method
HAVING count(*) > 1
ORDER BY $encoder_order,
         list_position($methods, s.method)
