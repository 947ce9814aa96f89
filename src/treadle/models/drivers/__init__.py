"""Drivers: servers that load and unload models, each behind `ports.model_server.ModelServer`."""
