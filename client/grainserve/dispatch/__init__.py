"""Who does the jobs: the dispatcher, its queue, the leases of what it has claimed."""
