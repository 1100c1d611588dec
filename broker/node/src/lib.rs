//! broker/node
