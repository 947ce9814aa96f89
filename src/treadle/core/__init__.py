"""Names under which users of the described framework import things. Nothing is defined here."""
