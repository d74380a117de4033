SELECT method, error, temperature, scaled_error, first_half_temperature, second_half_temperature
FROM calibration_errors
WHERE run_id = $run_id
ORDER BY list_position($methods, method)
