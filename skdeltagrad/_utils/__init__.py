"""Tools that know nothing of learning: threads, memory, progress, locks, tables."""
