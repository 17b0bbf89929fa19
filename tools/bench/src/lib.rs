//! Workload generators, load loop and report of farrow bench
