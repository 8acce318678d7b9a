"""What comes in and goes out: requests, options, images, answers."""
