"""The embedded llama.cpp: a process per model, shared by every Treadle process of a user, within a budget of memory."""
