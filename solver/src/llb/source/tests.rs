//! Identifiers and attributes of sources, and what is refused.

use proto::pb;

use super::*;
use crate::llb::Error;

fn parts(output: &Output) -> (String, Vec<(String, String)>) {
    match &output.vertex().op().op {
        Some(pb::op::Op::Source(source)) => (
            source.identifier.clone(),
            source.attrs.clone().into_iter().collect(),
        ),
        other => panic!("{other:?}"),
    }
}

fn attr<'a>(attrs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    attrs
        .iter()
        .find(|(k, _)| k == key)
        .map(|(_, value)| value.as_str())
}

#[test]
fn git_identifiers_are_the_same_for_every_protocol() {
    let options = |reference: &str, subdir: &str| GitOptions {
        reference: (!reference.is_empty()).then(|| reference.into()),
        subdir: (!subdir.is_empty()).then(|| subdir.into()),
        ..GitOptions::default()
    };
    for (url, reference, subdir, identifier, full_url) in [
        (
            "https://a.io/b.git",
            "",
            "",
            "git://a.io/b.git",
            "https://a.io/b.git",
        ),
        (
            "a.io/b.git",
            "",
            "",
            "git://a.io/b.git",
            "https://a.io/b.git",
        ),
        ("HTTPS://a.io/b", "", "", "git://a.io/b", "https://a.io/b"),
        (
            "https://a.io:8443/b",
            "",
            "",
            "git://a.io:8443/b",
            "https://a.io:8443/b",
        ),
        (
            "ssh://git@a.io/b.git",
            "main",
            "",
            "git://a.io/b.git#main",
            "ssh://git@a.io/b.git",
        ),
        (
            "git@a.io:b.git",
            "main",
            "",
            "git://a.io/b.git#main",
            "git@a.io:b.git",
        ),
        (
            "https://a.io/b",
            "v1",
            "/x/../y",
            "git://a.io/b#v1:y",
            "https://a.io/b",
        ),
        (
            "https://a.io/b",
            "",
            "y",
            "git://a.io/b#:y",
            "https://a.io/b",
        ),
        (
            "https://a.io/b?x=1#v2:z",
            "",
            "",
            "git://a.io/b#v2:z",
            "https://a.io/b",
        ),
        (
            "https://a.io/b#v2:z",
            "v3",
            "",
            "git://a.io/b#v3:z",
            "https://a.io/b",
        ),
    ] {
        let output = git(url, options(reference, subdir)).expect("a git URL");
        let (found, attrs) = parts(&output);
        assert_eq!(
            (&*found, attr(&attrs, "git.fullurl")),
            (identifier, Some(full_url)),
            "{url}"
        );
    }
}

#[test]
fn git_over_ssh_names_an_agent() {
    let hosts = vec!["a.io ssh-ed25519 K".into(), "b.io ssh-ed25519 L\n".into()];
    let options = GitOptions {
        known_ssh_hosts: hosts,
        ..GitOptions::default()
    };
    let output = git("git@a.io:b.git", options).expect("a git URL");
    let (_, attrs) = parts(&output);
    assert_eq!(attr(&attrs, "git.mountsshsock"), Some("default"));
    assert_eq!(
        attr(&attrs, "git.knownsshhosts"),
        Some("a.io ssh-ed25519 K\nb.io ssh-ed25519 L\n")
    );
    let output = git("https://a.io/b", GitOptions::default()).expect("a git URL");
    assert_eq!(attr(&parts(&output).1, "git.mountsshsock"), None);
}

#[test]
fn a_password_in_a_git_url_reaches_neither_graph_nor_error() {
    for url in [
        "https://me:hunter2@example.com/a.git",
        "me:hunter2@example.com/a.git",
    ] {
        let error = git(url, GitOptions::default()).expect_err("a password is refused");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn git_refuses_what_contradicts_itself() {
    let bundle = Some(GitBundle::default());
    let subdir = Some("s".into());
    for options in [
        GitOptions {
            bundle,
            ..GitOptions::default()
        },
        GitOptions {
            fetch_by_commit: true,
            ..GitOptions::default()
        },
        GitOptions {
            checkout_bundle: true,
            keep_git_dir: true,
            ..GitOptions::default()
        },
        GitOptions {
            checkout_bundle: true,
            subdir,
            ..GitOptions::default()
        },
        GitOptions {
            mtime: Some("now".into()),
            ..GitOptions::default()
        },
    ] {
        assert!(matches!(
            git("https://a.io/b", options),
            Err(Error::Option { .. })
        ));
    }
    for url in [
        "",
        "ftp://a.io/b",
        "https://",
        "https:///b",
        "https://a.io/b c",
        "file:///a",
    ] {
        let result = git(url, GitOptions::default());
        assert!(matches!(result, Err(Error::GitUrl { .. })), "{url:?}");
    }
}

#[test]
fn lists_of_a_local_directory_are_json_of_go() {
    let options = LocalOptions {
        include: vec!["a".into(), "<b>".into()],
        differ: Some((Differ::None, true)),
        ..LocalOptions::default()
    };
    let output = local("context", options);
    let (identifier, attrs) = parts(&output);
    assert_eq!(identifier, "local://context");
    assert_eq!(
        attr(&attrs, "local.includepattern"),
        Some(r#"["a","\u003cb\u003e"]"#)
    );
    assert_eq!(attr(&attrs, "local.differ"), Some("none"));
    assert_eq!(attrs.len(), 2, "empty lists are no attributes");
    assert!(
        output
            .vertex()
            .metadata()
            .caps
            .contains_key("source.local.differ")
    );
}

#[test]
fn a_session_id_makes_the_unique_id_needless() {
    let options = LocalOptions {
        session_id: Some("s".into()),
        unique: Some("u".into()),
        ..LocalOptions::default()
    };
    let (_, attrs) = parts(&local("context", options));
    assert_eq!(attrs, [("local.session".into(), "s".into())]);
}

#[test]
fn options_of_a_download() {
    let options = HttpOptions {
        filename: Some("f".into()),
        mode: 0o755,
        gid: 7,
        accept: Some("text/plain".into()),
        auth_header_secret: Some("token".into()),
        ..HttpOptions::default()
    };
    let output = http("https://a.io/b", options).expect("a URL");
    let (_, attrs) = parts(&output);
    assert_eq!(attr(&attrs, "http.perm"), Some("0755"));
    assert_eq!(attr(&attrs, "http.gid"), Some("7"));
    assert_eq!(attr(&attrs, "http.uid"), None);
    assert_eq!(attr(&attrs, "http.header.accept"), Some("text/plain"));
    assert!(
        output
            .vertex()
            .metadata()
            .caps
            .contains_key("soruce.http.uidgid")
    );
    assert!(matches!(
        http("ftp://a.io/b", HttpOptions::default()),
        Err(Error::HttpUrl { .. })
    ));
}

#[test]
fn blobs_and_layouts_are_named_by_digest() {
    let pinned = format!("a@sha256:{}", "a".repeat(64));
    let tagged = pinned.replace('@', ":t@");
    let blob = oci_layout_blob(&pinned, BlobOptions::default()).expect("a reference");
    assert_eq!(
        parts(&blob).0,
        format!("oci-layout+blob://docker.io/library/{pinned}")
    );
    for result in [
        image_blob("a", BlobOptions::default()),
        image_blob(&tagged, BlobOptions::default()),
        oci_layout("a:t", OciLayoutOptions::default()),
    ] {
        assert!(matches!(result, Err(Error::Reference { .. })));
    }
    assert!(oci_layout(&tagged, OciLayoutOptions::default()).is_ok());
}
