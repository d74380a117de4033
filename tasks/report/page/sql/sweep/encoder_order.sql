(SELECT min(e.value_index) FROM sweeps AS e
        WHERE e.run_id = s.run_id AND e.parameter = 'encoder' AND e.value = s.encoder_name)
