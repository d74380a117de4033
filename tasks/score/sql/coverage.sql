-- How many files there are, and how many of them were scored. Reads images, predictions.
SELECT count(*) AS image_count,
       count(*) FILTER (image_digest IN (
         SELECT image_digest FROM predictions WHERE run_index = 0 AND rank = 1
       )) AS scored_count
FROM images
