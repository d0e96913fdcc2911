"""The capability that makes meshes: pictures to models, formats, thumbnails."""
