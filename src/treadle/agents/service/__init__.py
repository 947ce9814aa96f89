"""The kind `service`: a small HTTP API over a database file. Its plumbing is written by rule, the rest by a model."""
