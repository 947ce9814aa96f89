"""What is written down about servers, models and routing: read, checked, found again."""
