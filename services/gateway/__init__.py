"""The public face: REST dialects, uploads, downloads, sockets; Envoy stands in front."""
