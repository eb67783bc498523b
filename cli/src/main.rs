//! dagop
fn main() {}
