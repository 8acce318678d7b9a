"""Files from the bucket: checkpoints and other artifacts, fetched and verified."""
