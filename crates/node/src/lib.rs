//! The memory node daemon
