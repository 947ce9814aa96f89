"""Models: what is written down (`inventory`), files (`files`), the embedded llama.cpp (`hosts`), adapters per provider,
drivers of what loads and unloads, wrappers around any of them; and which model answers (`choose`, `routing`)."""
