//! Tests of cache.
