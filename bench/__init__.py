"""Benchmarks: measured side by side with peers, in one run on one machine. `python -m bench` lists them."""
