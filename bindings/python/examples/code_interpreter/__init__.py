"""A code interpreter for AI agents, over HTTP: one warm sandbox for each conversation."""
