use super::*;

#[test]
fn a_password_in_a_git_url_reaches_neither_graph_nor_error() {
    let error = git(
        "https://me:hunter2@example.com/a.git",
        GitOptions::default(),
    )
    .expect_err("a password is refused");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
