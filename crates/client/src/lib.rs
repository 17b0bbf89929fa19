//! The client library
