"""What people keep of their images, in the bucket: the history of a submitter, and the scale as it is set later."""
