//! broker/protocols
