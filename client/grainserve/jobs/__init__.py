"""What a job is in the bucket: its record, its marker, and the protocol that all processes follow."""
