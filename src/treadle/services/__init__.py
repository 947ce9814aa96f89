"""What every face can ask for. No logic of the faces, no adapters."""
