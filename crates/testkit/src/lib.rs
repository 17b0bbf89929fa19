//! Histories, checkers and clusters for tests
