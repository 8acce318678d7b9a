"""The worker's side of the wire contract: requests, options, images, mask formats."""
