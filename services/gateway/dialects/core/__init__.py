"""Our own public routes, beside the dialects."""
