"""The dispatcher, which does the jobs: its queue, the leases of its claims, its threads."""
