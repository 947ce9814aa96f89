"""Stores: one folder per backend, same operation names in each."""
