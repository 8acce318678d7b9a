"""Jobs in the bucket: their records, their markers, and the protocol that all processes follow."""
