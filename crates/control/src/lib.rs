//! The control plane: messages and the authenticated, encrypted channel they travel on
