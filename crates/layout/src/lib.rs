//! Every byte in a memory node's registered memory, defined once
