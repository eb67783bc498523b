//! Tests of IDs.
