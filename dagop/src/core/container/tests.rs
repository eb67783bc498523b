//! Which tree a path belongs to.

use super::*;
use crate::error::Kind;

fn container() -> Container {
    let bind = |target: &str, selector: &str| ExecMount {
        target: target.to_owned(),
        kind: MountKind::Bind {
            source: None,
            selector: selector.to_owned(),
            readonly: false,
        },
    };
    let tmpfs = ExecMount {
        target: "/tmp".to_owned(),
        kind: MountKind::Tmpfs { size: None },
    };
    let mut container = Container::new(Platform::host());
    container.mounts = vec![bind("/src", "/"), bind("/src/vendor", "/lib"), tmpfs].into();
    container
}

fn place(path: &str) -> (Option<usize>, String) {
    let place = container().locate(path).expect("has files");
    (place.mount, place.path)
}

#[test]
fn the_longest_mount_wins() {
    assert_eq!(place("/etc/hosts"), (None, "/etc/hosts".to_owned()));
    assert_eq!(place("/src/main.c"), (Some(0), "/main.c".to_owned()));
    assert_eq!(place("/src/vendor/z.h"), (Some(1), "/lib/z.h".to_owned()));
    assert_eq!(place("/srcx"), (None, "/srcx".to_owned()));
}

#[test]
fn a_path_without_files_is_refused_by_name() {
    let error = container()
        .locate("/tmp/x")
        .err()
        .expect("memory has no files");
    assert_eq!(error.kind(), Kind::Input);
    assert!(
        error
            .message()
            .contains("temporary directory mounted at /tmp"),
        "{error}"
    );
}

#[test]
fn arguments_are_expanded_only_when_asked_and_never_with_secrets() {
    let mut container = container().configure(|config| config.set_env("HOME", "/root"));
    container.secret_env = vec![("TOKEN".to_owned(), "id".to_owned())].into();
    assert_eq!(container.expand("$HOME", false).expect("as it is"), "$HOME");
    assert_eq!(container.expand("$HOME/x", true).expect("known"), "/root/x");
    assert!(container.expand("$TOKEN", true).is_err());
}

#[test]
fn relative_paths_begin_at_the_working_directory() {
    let container = container().configure(|config| config.workdir = "/work".to_owned());
    assert_eq!(container.absolute("a").expect("inside"), "/work/a");
    assert!(container.absolute("../../x").is_err());
}
