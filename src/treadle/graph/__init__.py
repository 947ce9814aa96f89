"""What comes next: building, checking, planning and drawing graphs. Pure."""
