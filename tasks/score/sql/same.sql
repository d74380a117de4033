-- The first method, by name, with the same five classes on every image and run. Reads predictions.
WITH fingerprints AS (  -- hashes in any order: nothing is sorted or joined
  SELECT method,
         count(*) AS row_count,
         bit_xor(hash(image_digest, run_index, rank, class_id)) AS fingerprint
  FROM predictions
  GROUP BY method
)
SELECT method, min(method) OVER (PARTITION BY row_count, fingerprint) AS same_as
FROM fingerprints
ORDER BY method
