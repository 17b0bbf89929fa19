//! The fabric over libibverbs: RNICs and Soft-RoCE
