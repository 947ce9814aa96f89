"""The public test kit: conformance suites, fake clock, scripted model, fault injectors."""
