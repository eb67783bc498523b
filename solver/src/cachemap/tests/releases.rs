//! Formulas of older releases, and what tells them apart.

use super::*;

#[test]
fn older_daemons_write_zero_indexes() {
    let old = |output: &Output| {
        of(output.vertex(), Profile::V0_13)
            .expect("it follows")
            .digest
    };
    let merged = merge(&[Some(busybox()), Some(context())], Constraints::default());
    let expected = r#"{"Type":"buildkit.merge.v0","Merge":{"inputs":[{"input":0},{"input":1}]}}"#;
    assert_eq!(old(&merged.expect("two trees")), json_digest(expected));
    let diffed = diff(Some(&busybox()), Some(&context()), Constraints::default());
    let expected =
        r#"{"Type":"buildkit.diff.v0","Diff":{"lower":{"input":0},"upper":{"input":1}}}"#;
    assert_eq!(old(&diffed.expect("two trees")), json_digest(expected));
    let expected = r#"{"Type":"buildkit.build.v0","Exec":{"builder":-1,"inputs":{"buildkit.llb.definition":{"input":0}}}}"#;
    assert_eq!(
        old(&build(&context(), None, amd64())),
        json_digest(expected)
    );
    let exec = run(Exec::new(Some(busybox()), ["x"]).mount(Mount::bind("/o", None)));
    let expected = r#"{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["x"],"cwd":"/","removeMountStubsRecursive":true},"mounts":[{"input":0,"dest":"/","output":0},{"input":-1,"dest":"/o","output":1}]},"OS":"linux","Arch":"amd64"}"#;
    assert_eq!(old(&exec), json_digest(expected));
    let plain = run(Exec::new(Some(busybox()), ["x"]));
    assert_eq!(
        old(&plain),
        map(&plain).digest,
        "a plain run has the same key everywhere"
    );
    let strange = run(Exec::new(Some(busybox()), ["\u{8}"]));
    assert!(matches!(
        of(strange.vertex(), Profile::V0_13),
        Err(Unknown::Unsupported(_))
    ));
    assert!(of(strange.vertex(), Profile::V0_17).is_ok());
    let quoted = run(Exec::new(Some(busybox()), ["\\b"]));
    assert!(
        of(quoted.vertex(), Profile::V0_13).is_ok(),
        "a backslash before a b is no backspace"
    );
}

#[test]
fn v0_12_keys_merges_by_json_and_commands_by_what_they_select() {
    let old = |output: &Output| of(output.vertex(), Profile::V0_12).expect("it follows");
    let merged = merge(&[Some(busybox()), Some(context())], Constraints::default());
    let json = r#"{"Type":"buildkit.merge.v0","Merge":{"inputs":[{"input":0},{"input":1}]}}"#;
    assert_eq!(old(&merged.expect("two trees")).digest.as_str(), json);

    let plain = run(Exec::new(Some(busybox()), ["x"]));
    assert_eq!(old(&plain).digest, map(&plain).digest);
    assert_eq!(old(&plain).inputs, [InputMap::default()]);

    let mounted = run(Exec::new(Some(busybox()), ["x"])
        .mount(Mount::bind("/whole", Some(context())).readonly())
        .mount(
            Mount::bind("/part", Some(mkfile("/p", "")))
                .readonly()
                .selector("p"),
        )
        .mount(Mount::cache("/c", "other", CacheSharing::Locked)));
    // Mounts are in the order of their targets.
    let [root, part, whole] = &old(&mounted).inputs[..] else {
        panic!("three inputs");
    };
    assert_eq!(root, &InputMap::default());
    assert_eq!(part.selector, Some(Digest::sha256(b"/p")));
    let selected = vec![ContentSelector::path("/p".to_owned(), true)];
    assert_eq!(part.content, Some(selected));
    assert_eq!(
        (&whole.selector, &whole.content),
        (&None, &Some(Vec::new()))
    );
    let renamed = run(Exec::new(Some(busybox()), ["x"]).mount(Mount::cache(
        "/c",
        "other",
        CacheSharing::Locked,
    )));
    let renamed_again = run(Exec::new(Some(busybox()), ["x"]).mount(Mount::cache(
        "/c",
        "another",
        CacheSharing::Locked,
    )));
    assert_ne!(old(&renamed).digest, old(&renamed_again).digest);
    assert_eq!(map(&renamed).digest, map(&renamed_again).digest);
}

#[test]
fn options_of_a_copy_are_in_the_key_of_daemons_that_know_them() {
    let options = CopyOptions {
        replace: true,
        mode: Some(CopyMode::Symbolic("u+x".to_owned())),
        required_paths: vec!["a".to_owned()],
        ..CopyOptions::default()
    };
    let copied = built(FileOp::new(None).copy(context(), "/d", "/e", options));
    let digest = |profile| of(copied.vertex(), profile).expect("it follows").digest;
    let profiles = [
        Profile::V0_13,
        Profile::V0_14,
        Profile::V0_17,
        Profile::V0_26,
    ];
    let digests: std::collections::BTreeSet<_> = profiles.map(digest).into_iter().collect();
    assert_eq!(digests.len(), profiles.len());
    assert_eq!(digest(Profile::V0_12), digest(Profile::V0_13));
}

/// v0.17 lost the type's own JSON: Go's names of fields show, and a zero.
#[test]
fn owners_are_spelt_in_three_ways() {
    let options = MkfileOptions {
        owner: Some(Owner::ids(5, 0)),
        ..MkfileOptions::default()
    };
    let file = FileOp::new(None)
        .mkfile("/a", 0o644, "", options)
        .build(Constraints::default())
        .unwrap();
    for (profile, owner) in [
        (
            Profile::V0_13,
            r#"{"user":{"User":{"byID":5}},"group":{"User":{}}}"#,
        ),
        (
            Profile::V0_17,
            r#"{"user":{"User":{"ByID":5}},"group":{"User":{"ByID":0}}}"#,
        ),
        (
            Profile::V0_18,
            r#"{"user":{"User":{"byId":5}},"group":{"User":{}}}"#,
        ),
    ] {
        let texts = preimages(file.vertex(), profile, &Facts::default()).unwrap();
        assert!(texts[0].contains(owner), "{profile:?}: {}", texts[0]);
    }
}
