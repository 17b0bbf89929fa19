//! One schema for the TOML file, the flags and the environment
