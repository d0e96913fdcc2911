"""Where the bytes lie: a local folder, or a bucket of any S3."""
