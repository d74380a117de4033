"""What a flow can be told, composed of small models, one for each stage."""
