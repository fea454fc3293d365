//! Worker containers: one name a rental and attempt, adopted or removed, never left behind.
