//! dagql
