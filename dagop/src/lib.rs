//! dagop
