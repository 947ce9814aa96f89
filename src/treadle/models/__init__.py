"""Models: the catalogue, the embedded host, and one adapter per provider."""
