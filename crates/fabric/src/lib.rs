//! The fabric: links, chains of one-sided verbs, completions, time
