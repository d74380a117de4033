CASE WHEN s.encoder_name = '' OR s.parameter = 'encoder' THEN s.parameter
            ELSE s.parameter || ' under ' || s.encoder_name END
