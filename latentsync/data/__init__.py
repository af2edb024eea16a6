"""Training data: clips found, checked and cached once, then samples that depend on nothing but their number."""
