//! The fabric over shared memory on one host
