"""The edge app: what is not one JSON message. Multipart, ranges, sockets, pages."""
