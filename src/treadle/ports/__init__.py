"""What Treadle needs from outside: protocols with their contracts. No implementation."""
