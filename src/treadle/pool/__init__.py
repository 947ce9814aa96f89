"""The traffic controller of small GPUs: what to load, evict, run and hold back. `schedule` decides."""
