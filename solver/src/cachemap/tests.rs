//! Cache map digests that real daemons exported, and the formulas by release.

use proto::pb;

use super::*;
use crate::llb::{
    Constraints, Output, Platform, build, diff,
    exec::{CacheSharing, ContentCache, Exec, Mount, Secret},
    file::{
        CopyMode, CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner, RmOptions,
        SymlinkOptions,
    },
    merge, passthrough,
    source::{ImageOptions, LocalOptions, image, local},
};

mod releases;

/// `sha256("/")`, the selector of a plain root.
const ROOT_SELECTOR: &str = "8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1";

fn amd64() -> Constraints {
    Constraints::on(Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        ..Default::default()
    })
}

fn busybox() -> Output {
    let options = ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    image("busybox", options).expect("a reference")
}

fn context() -> Output {
    local(
        "context",
        LocalOptions {
            unique: Some("u".into()),
            ..LocalOptions::default()
        },
    )
}

fn built(chain: FileOp) -> Output {
    chain.build(Constraints::default()).expect("a valid chain")
}

fn mkfile(path: &str, data: &'static str) -> Output {
    built(FileOp::new(None).mkfile(path, 0o644, data, MkfileOptions::default()))
}

fn run(exec: Exec) -> Output {
    exec.constraints(amd64())
        .build()
        .expect("a valid exec")
        .vertex()
        .output(0)
}

fn map(output: &Output) -> CacheMap {
    of(output.vertex(), Profile::NEWEST).expect("it follows from the operation")
}

fn hex(output: &Output) -> String {
    map(output).digest.hex().to_owned()
}

fn record_of(output: &Output) -> String {
    record(&map(output).digest, 0).hex().to_owned()
}

fn json_digest(json: &str) -> Digest {
    Digest::sha256(json.as_bytes())
}

/// Digests that real daemons of v0.32.2 exported: cache map and record of output 0.
#[test]
fn digests_of_a_real_daemon() {
    let a = mkfile("/a", "A");
    let copy_options = CopyOptions {
        follow_symlinks: true,
        create_parents: true,
        ..CopyOptions::default()
    };
    let copied = built(FileOp::new(Some(a.clone())).copy(context(), "/x/y", "/z/", copy_options));
    let owner = Some(Owner::parse("bob:0"));
    let mkdir_options = MkdirOptions {
        parents: true,
        owner,
        timestamp: None,
    };
    let made = built(FileOp::new(Some(a.clone())).mkdir("/q", 0o755, mkdir_options));
    let ran = run(Exec::new(Some(busybox()), ["/bin/sh", "-c", "true"]).env("A", "1"));
    let merged = merge(
        &[Some(a.clone()), Some(mkfile("/b", "B"))],
        Constraints::default(),
    );
    let merged = merged.expect("two trees");
    let diffed = diff(Some(&a), Some(&merged), Constraints::default()).expect("two trees");
    for (output, cache_map, record) in [
        (
            &a,
            "288c28897428696128090f1d5e3260623b9ae2597356971e8cd43d4ee7451bc4",
            "76d7d6dbdf12ff4852b20a553022297d6f6914f462bf2708d2896ccf398d9f50",
        ),
        (
            &copied,
            "5d201ce041ed43d3f9fe57668761e551efed3b24a6286d5cc30fd1c7e0df24f4",
            "f2d8a77fd18a684f4127eaad471cd49da4e0a123160fcd3728689b7586ffbad5",
        ),
        (
            &made,
            "324f88dc4da9b110cbf8aa98113641c8594c38fd1be02e5eec5a246567060e19",
            "5c0bf8ad374491ff15faebef733014e1a1588819df1f5fe3336ffb87faf2ca05",
        ),
        (
            &ran,
            "6b4656ca5f0f9a7a2e24b8789789bdc81f40862f4d0b3a47c13c66eb7abca0af",
            "57beb8192da5ff86ae9cd2cabd14d670b832c9a7d7fa672c5262c2d1afe36228",
        ),
        (
            &merged,
            "436287a2dc2ce494f564331be9ea3a9f27ebec398567877043da2f618f33d6c8",
            "5dbfbafede47210a7bd7363461bc885ec7310febe761daffdf666bfdae5970ff",
        ),
        (
            &diffed,
            "164ae6dac10aea8de6cb7cda35914a10011485523f807ea840bca3e0ab19d8ff",
            "da0a96236f5dd8894befe24571d03b805154b3efa0b382d418d91841471b38ce",
        ),
    ] {
        assert_eq!(hex(output), cache_map);
        assert_eq!(record_of(output), record);
        assert_eq!(digest(output.vertex()), Some(map(output).digest));
    }
    let built = build(&a, None, amd64());
    assert!(record_of(&built).starts_with("da320acc5208ec3670c0"));
}

#[test]
fn a_diff_with_scratch_as_other_clients_write_it() {
    let diff = pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: -1 }),
        upper: Some(pb::UpperDiffInput { input: 0 }),
    };
    let map = graph::diff(&diff, Profile::NEWEST).expect("both sides are given");
    assert_eq!(
        map.digest.hex(),
        "f5284a0f1782a8c2cdb29841228c32706cbf04332ad37c3c7cb41659c6eeba0a"
    );
    assert_eq!(map.inputs.len(), 1);
    let half = pb::DiffOp {
        lower: None,
        ..diff
    };
    assert!(matches!(
        graph::diff(&half, Profile::NEWEST),
        Err(Unknown::Invalid(_))
    ));
}

#[test]
fn mounts_of_a_real_daemon() {
    let exec = Exec::new(Some(busybox()), ["true"])
        .mount(Mount::cache("/c", "/c", CacheSharing::Shared))
        .mount(Mount::bind("/m", Some(mkfile("/a", "A"))).readonly())
        .mount(Mount::bind("/o", None));
    let ran = run(exec);
    assert_eq!(
        hex(&ran),
        "9d7f83a7fe2ebaa30f6358b966aa8e96f05654ae719ccb67bd35b5e587cb4aae"
    );
    assert_eq!(
        record_of(&ran),
        "6c89b705c7d41238f8f73c02a1cd42ad52860d0f73fe27b152ef0db2448104f5"
    );
    let inputs = map(&ran).inputs;
    assert_eq!(
        inputs[0].selector.as_ref().expect("a selector").hex(),
        ROOT_SELECTOR
    );
    assert_eq!(inputs[0].content, None, "the root is not hashed");
    assert_eq!(
        inputs[1].content,
        Some(vec![]),
        "all of a read-only mount is hashed"
    );
}

#[test]
fn what_does_not_change_the_result_is_not_in_the_key() {
    let base = || Exec::new(Some(busybox()), ["true"]).mount(Mount::bind("/m", Some(context())));
    let key = |exec| map(&run(exec)).digest;
    let proxy = pb::ProxyEnv {
        http_proxy: "p".into(),
        ..Default::default()
    };
    assert_eq!(key(base()), key(base().proxy(proxy)));
    let host = |address: [u8; 4]| base().extra_host("h", address.into());
    assert_eq!(key(host([1, 1, 1, 1])), key(host([2, 2, 2, 2])));
    assert_ne!(
        key(base()),
        key(host([1, 1, 1, 1])),
        "that there is a host is in the key"
    );
    let selected = |path: &str| base().mount(Mount::bind("/n", Some(context())).selector(path));
    assert_eq!(key(selected("a")), key(selected("b")));
    let cache = |id: &str, sharing| base().mount(Mount::cache("/c", id, sharing));
    let default = key(cache("/c", CacheSharing::Shared));
    assert_eq!(
        key(cache("x", CacheSharing::Shared)),
        key(cache("y", CacheSharing::Locked))
    );
    assert_ne!(default, key(cache("x", CacheSharing::Shared)));
    assert_ne!(
        default,
        key(cache("ns//c", CacheSharing::Shared)),
        "a namespaced default stays"
    );
    assert_eq!(
        key(cache("x", CacheSharing::Shared)),
        key(cache("/c", CacheSharing::Locked))
    );
    let secret = |id: &str| base().secret(Secret::file(id, "/s").optional());
    assert_ne!(
        key(secret("a")),
        key(secret("b")),
        "the id of a secret is in the key"
    );
}

#[test]
fn when_the_content_of_a_mount_counts() {
    let content = |mount: Mount| {
        let vertex = run(Exec::new(Some(busybox()), ["true"]).mount(mount));
        of(vertex.vertex(), Profile::NEWEST).map(|map| map.inputs[1].clone())
    };
    let mount = || Mount::bind("/m", Some(context()));
    let paths = |map: InputMap| {
        map.content
            .map(|list| list.into_iter().map(|one| one.path).collect::<Vec<_>>())
    };
    let whole = Some(vec![]);
    let sub = Some(vec!["/sub".to_owned()]);
    assert_eq!(
        content(mount()).map(paths),
        Ok(whole.clone()),
        "the whole input"
    );
    assert_eq!(
        content(mount().selector("sub")).map(paths),
        Ok(None),
        "a part, written to"
    );
    assert_eq!(
        content(mount().selector("sub").readonly()).map(paths),
        Ok(sub.clone())
    );
    assert_eq!(
        content(mount().selector("./sub/").no_output()).map(paths),
        Ok(sub)
    );
    assert_eq!(
        content(mount().content_cache(ContentCache::Off)).map(paths),
        Ok(None)
    );
    let unsound = mount().selector("sub").content_cache(ContentCache::On);
    assert!(matches!(content(unsound), Err(Unknown::Invalid(_))));

    let selector = |map: InputMap| map.selector.expect("a selector");
    let expected = Digest::sha256(b"/sub");
    assert_eq!(content(mount().selector("sub")).map(selector), Ok(expected));
}

#[test]
fn selectors_of_one_input_are_joined_and_the_last_mount_decides() {
    let exec = |last: Mount| {
        let exec = Exec::new(Some(busybox()), ["true"])
            .mount(Mount::bind("/m", Some(context())).selector("b").readonly())
            .mount(Mount::bind("/n", Some(context())).selector("a").readonly())
            .mount(last);
        map(&run(exec)).inputs[1].clone()
    };
    let readonly = exec(
        Mount::bind("/o", Some(context()))
            .selector("a/c")
            .readonly(),
    );
    assert_eq!(readonly.selector, Some(Digest::sha256(b"/b\0/a\0/a/c")));
    let paths: Vec<_> = readonly
        .content
        .expect("content")
        .into_iter()
        .map(|one| (one.path, one.follow_links))
        .collect();
    assert_eq!(paths, [("/a".to_owned(), true), ("/b".to_owned(), true)]);
    let writable = exec(Mount::bind("/o", Some(context())).selector("c"));
    assert_eq!(writable.content, None);
}

#[test]
fn copies_are_selected_by_what_they_copy() {
    let options = |wildcard| CopyOptions {
        wildcard,
        ..CopyOptions::default()
    };
    let copy = |from: &str, wildcard| {
        map(&built(FileOp::new(Some(busybox())).copy(
            context(),
            from,
            "/d/",
            options(wildcard),
        )))
    };
    let plain = copy("/x/y", false);
    assert_eq!(
        plain.digest,
        copy("/other/y", false).digest,
        "only the last part is in the digest"
    );
    assert_eq!(
        plain.inputs[0],
        InputMap::default(),
        "the base is keyed by its record"
    );
    assert_eq!(plain.inputs[1].selector, Some(Digest::sha256(b"/x/y")));
    assert_eq!(
        plain.inputs[1].content,
        Some(vec![ContentSelector::path("/x/y", false)])
    );
    for (from, wildcard, counts) in [
        ("/x/*", true, true),
        ("/x/*", false, false),
        ("/x/y", true, false),
        (r"/x/\*", true, false),
    ] {
        let content = copy(from, wildcard).inputs[1]
            .content
            .clone()
            .expect("content");
        assert_eq!(content[0].wildcard, counts, "{from}");
    }
    let several = built(
        FileOp::new(Some(busybox()))
            .copy(context(), "/a", "/", options(false))
            .copy(context(), "/b", "/", options(false))
            .copy(context(), "/a/c", "/", options(false)),
    );
    let input = map(&several).inputs[1].clone();
    assert_eq!(
        input.selector,
        Some(Digest::sha256(b"/b\0/a/c\0/a")),
        "in falling order"
    );
    let content = input.content.expect("content");
    assert_eq!(
        content,
        [
            ContentSelector::path("/a", false),
            ContentSelector::path("/b", false)
        ]
    );
}

#[test]
fn an_input_that_is_worked_on_is_keyed_by_its_record() {
    let itself =
        built(FileOp::new(Some(context())).copy(context(), "/a", "/b", CopyOptions::default()));
    assert_eq!(map(&itself).inputs, [InputMap::default()]);
    let owner = Some(Owner::parse("bob:staff"));
    let options = CopyOptions {
        owner,
        ..CopyOptions::default()
    };
    let owned = built(FileOp::new(Some(busybox())).copy(context(), "/a", "/b", options));
    assert_eq!(
        map(&owned).inputs[0],
        InputMap::default(),
        "passwd of the base is not selected"
    );
}

/// Names looked up in an input that is only copied from, as only other clients write it.
#[test]
fn owners_by_name_select_the_files_they_are_looked_up_in() {
    let named = |name: &str| pb::UserOpt {
        user: Some(pb::user_opt::User::ByName(pb::NamedUserOpt {
            name: name.into(),
            input: 0,
        })),
    };
    let mkdir = pb::FileActionMkDir {
        path: "/d".into(),
        owner: Some(pb::ChownOpt {
            user: Some(named("bob")),
            group: Some(named("staff")),
        }),
        ..Default::default()
    };
    let action = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkdir(mkdir)),
    };
    let op = pb::Op {
        inputs: vec![pb::Input::default()],
        ..Default::default()
    };
    let map = file::map(
        &pb::FileOp {
            actions: vec![action],
        },
        &op,
        Profile::NEWEST,
    );
    let input = map.expect("valid").inputs.remove(0);
    assert_eq!(
        input.selector,
        Some(Digest::sha256(b"/etc/passwd\0/etc/group"))
    );
    let content = input.content.expect("content");
    let expected = ["/etc/group", "/etc/passwd"].map(|path| ContentSelector::path(path, true));
    assert_eq!(content, expected);
}

#[test]
fn json_of_the_other_file_actions() {
    let chain = FileOp::new(Some(busybox()))
        .rm(
            "/x",
            RmOptions {
                allow_not_found: true,
                wildcard: false,
            },
        )
        .symlink(
            "../<a>",
            "/l",
            SymlinkOptions {
                owner: Some(Owner::ids(1, 0)),
                timestamp: Some(0),
            },
        );
    // Two actions on one input: the daemon takes the indexes for unusual.
    let expected = r#"{"Type":"buildkit.file.v0","Actions":["eyJwYXRoIjoiL3giLCJhbGxvd05vdEZvdW5kIjp0cnVlfQ==","eyJvbGRwYXRoIjoiLi4vXHUwMDNjYVx1MDAzZSIsIm5ld3BhdGgiOiIvbCIsIm93bmVyIjp7InVzZXIiOnsiVXNlciI6eyJieUlkIjoxfX0sImdyb3VwIjp7IlVzZXIiOnt9fX19"],"indexes":[[0,-1,-1],[1,-1,0]]}"#;
    assert_eq!(map(&built(chain)).digest, json_digest(expected));
}

#[test]
fn passthrough_and_build_with_a_file() {
    let outputs = passthrough(
        "p",
        &[busybox(), context()],
        &[0, 1],
        Constraints::default(),
    );
    let output = &outputs.expect("a valid passthrough")[0];
    let expected = r#"{"Type":"buildkit.passthrough.v0","Passthrough":{"id":"p","outputs":[0,1]}}"#;
    assert_eq!(map(output).digest, json_digest(expected));
    assert_eq!(
        map(output).inputs,
        [InputMap::default(), InputMap::default()]
    );
    let expected = r#"{"Type":"buildkit.build.v0","Exec":{"builder":-1,"inputs":{"buildkit.llb.definition":{}},"attrs":{"llbbuild.filename":"f"}}}"#;
    assert_eq!(
        map(&build(&context(), Some("f"), amd64())).digest,
        json_digest(expected)
    );
}
