-- Every file that could not be used. Reads images, undecodable.
SELECT i.image_id,
       i.image_name,
       coalesce(i.read_error, u.reason) AS reason
FROM images AS i
LEFT JOIN undecodable AS u USING (image_digest)
WHERE i.read_error IS NOT NULL OR u.reason IS NOT NULL
ORDER BY i.image_id
