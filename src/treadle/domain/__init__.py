"""What is true: pure values and folds. No I/O, no clock, no asyncio."""
