"""Google Cloud Storage (GCS): objects with generation preconditions, the server's clock, checkpoints."""
