"""Storage: blobs by content, uploads that expire, the grants and signed URLs that open them."""
