//! Keys of sources that the operation alone decides.

use crate::{
    Digest,
    cachemap::{Facts, Profile, Resolved, Unknown, digest, of, with_facts},
    llb::{
        Constraints, Output, Platform,
        source::{
            BlobOptions, GitOptions, HttpOptions, ImageOptions, LocalOptions, git, http, image,
            image_blob, local,
        },
    },
};

fn amd64() -> Constraints {
    let (os, architecture) = ("linux".into(), "amd64".into());
    Constraints::on(Platform {
        os,
        architecture,
        ..Platform::default()
    })
}

fn key(output: &Output) -> Digest {
    of(output.vertex(), Profile::NEWEST)
        .expect("it follows from the operation")
        .digest
}

fn json_digest(json: &str) -> Digest {
    Digest::sha256(json.as_bytes())
}

#[test]
fn pinned_sources() {
    let pin = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let options = || ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    let pinned = image(&format!("x@{}", pin("1")), options()).expect("a reference");
    assert_eq!(
        key(&pinned).hex(),
        "3134c2a0a9f2f3f7584094056ad15239ee78ceb54d2407599b8888c21296fb64"
    );
    let other = image(&format!("mirror.io/y:z@{}", pin("1")), options()).expect("a reference");
    assert_eq!(key(&other), key(&pinned), "the name is not in the key");
    let limited = ImageOptions {
        layer_limit: Some(0),
        ..options()
    };
    let limited = image(&format!("x@{}", pin("1")), limited).expect("a reference");
    assert_ne!(key(&limited), key(&pinned));

    let source = |key: &str| Digest::sha256(format!("buildkit.source.v0:{key}").as_bytes());
    let blob = BlobOptions {
        filename: Some("f".into()),
        mode: 0o600,
        uid: 5,
        ..Default::default()
    };
    let blob = image_blob(&format!("x@{}", pin("2")), blob).expect("a reference");
    let json = format!(
        r#"{{"Digest":"{}","Filename":"f","Perm":384,"UID":5,"GID":0}}"#,
        pin("2")
    );
    assert_eq!(key(&blob), source(json_digest(&json).as_str()));

    let checksum = Digest::parse(&pin("3")).expect("a digest");
    let options = HttpOptions {
        checksum: Some(checksum.clone()),
        user_agent: Some("u".into()),
        auth_header_secret: Some("s".into()),
        ..HttpOptions::default()
    };
    let file = http("https://a.io/d/f.tgz?x=1", options.clone()).expect("a URL");
    let json = format!(
        r#"{{"Filename":"f.tgz","Perm":0,"UID":0,"GID":0,"Checksum":"{checksum}","AuthHeaderSecret":"s","Header":[{{"Name":"User-Agent","Value":"u"}}]}}"#
    );
    assert_eq!(key(&file), source(json_digest(&json).as_str()));
    for url in ["https://a.io", "https://a.io/a%20b"] {
        let file = http(url, options.clone()).expect("a URL");
        assert!(matches!(
            of(file.vertex(), Profile::NEWEST),
            Err(Unknown::Unsupported(_))
        ));
    }
}

#[test]
fn pinned_repositories() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let key_of = |options, profile| {
        let output = git("https://a.io/b", options).expect("a URL");
        of(output.vertex(), profile).map(|map| map.digest)
    };
    let source = |key: &str| {
        Ok(Digest::sha256(
            format!("buildkit.source.v0:{key}").as_bytes(),
        ))
    };
    let at = |reference: &str| GitOptions {
        reference: Some(reference.into()),
        ..Default::default()
    };
    assert_eq!(key_of(at(commit), Profile::NEWEST), source(commit));
    let options = GitOptions {
        keep_git_dir: true,
        subdir: Some("d".into()),
        skip_submodules: true,
        mtime: Some("commit".into()),
        ..at(commit)
    };
    let tail = ":d(skip-submodules)(mtime=commit)";
    let new = format!("{commit}.git#{commit}{tail}");
    assert_eq!(key_of(options.clone(), Profile::NEWEST), source(&new));
    // Found by comparing with v0.17.3, v0.20.2 and v0.25.2.
    for old in [Profile::V0_13, Profile::V0_17, Profile::V0_25] {
        let key = format!("{commit}.git{tail}");
        assert_eq!(key_of(options.clone(), old), source(&key), "{old:?}");
    }
    let by_commit = GitOptions {
        fetch_by_commit: true,
        checksum: Some(commit.into()),
        keep_git_dir: true,
        ..at("main")
    };
    assert_eq!(
        key_of(by_commit, Profile::NEWEST),
        source(&format!("{commit}.git#refs/heads/main"))
    );
    let branch = Facts {
        resolved: Some(Resolved::Git {
            commit: commit.to_owned(),
            reference: "refs/heads/main".to_owned(),
        }),
        ..Facts::default()
    };
    let kept = GitOptions {
        keep_git_dir: true,
        ..at("main")
    };
    let kept = git("https://a.io/b", kept).expect("a URL");
    let map = with_facts(kept.vertex(), Profile::V0_17, &branch).expect("it is resolved");
    let named = source(&format!("{commit}.git#refs/heads/main"));
    assert_eq!(Ok(map.digest), named);
    let checked = GitOptions {
        checksum: Some(commit.into()),
        ..at("main")
    };
    for options in [
        at("main"),
        at(&commit[..12]),
        GitOptions::default(),
        checked,
    ] {
        assert!(matches!(
            key_of(options, Profile::NEWEST),
            Err(Unknown::Resolved(_))
        ));
    }
}

#[test]
fn what_is_not_pinned_is_unknown() {
    let unknown = |output: &Output| of(output.vertex(), Profile::NEWEST).expect_err("unknown");
    let busybox = image("busybox", ImageOptions::default()).expect("a reference");
    let context = local("context", LocalOptions::default());
    assert!(matches!(unknown(&busybox), Unknown::Resolved(_)));
    assert_eq!(unknown(&context), Unknown::Content);
    assert_eq!(digest(context.vertex()), None);
    let file = http("https://a.io/b", HttpOptions::default()).expect("a URL");
    assert!(matches!(unknown(&file), Unknown::Resolved(_)));
}
