use super::*;

#[test]
fn plain() {
    assert_eq!(to_string("<").expect("a string"), "\"\\u003c\"");
}
