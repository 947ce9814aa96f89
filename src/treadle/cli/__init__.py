"""The command line: parsing and showing, no logic."""
