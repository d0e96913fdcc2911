"""Schema `assets`, one numbered file a step."""
