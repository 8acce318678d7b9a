"""Files from the bucket: checkpoints, fetched and verified."""
