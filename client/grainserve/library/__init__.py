"""What people keep about images in the bucket: names and tags, scales, samples."""
