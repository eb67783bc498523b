//! The join with caches in a registry: what a build wrote there, what it read from there, and what
//! an image of several platforms carries. Every layer is compared with what the registry has.

use base64::Engine as _;
use integration::registry::{PASSWORD, Registry, USER};
use integration::{daemon::Daemon, dagop::Dagop, registry};
use serde_json::{Value, json};

use crate::join::{chain, check, has_layers_of_image, manifest, pushed, records, run, text};

/// The blobs of a pushed cache.
fn blobs(cache: &str) -> Vec<String> {
    let manifest = manifest(cache);
    let kind = "application/vnd.buildkit.cacheconfig.v0";
    let (list, is_index) = match manifest["layers"].as_array() {
        Some(layers) => (layers, false),
        None => (manifest["manifests"].as_array().unwrap(), true),
    };
    let cache = list.iter().filter(|one| one["mediaType"] == kind);
    assert_eq!(cache.count() == 1, is_index);
    let blobs = list.iter().filter(|one| one["mediaType"] != kind);
    blobs.map(|blob| text(&blob["digest"])).collect()
}

/// Layers that records of this evidence name, each known to the cache.
fn named(report: &Value, evidence: &str) -> Vec<String> {
    let all = report["cache"]["records"].as_array().unwrap().iter();
    let of_cache = all.filter(|r| r["evidence"] == evidence && !r["layer"].is_null());
    of_cache
        .flat_map(|record| chain(&report["cache"], record))
        .collect()
}

#[test]
fn a_cache_in_a_registry_is_read_back() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let host = registry::shared().unwrap();
    let image = format!("{host}/join:registry");
    for (name, more) in [("manifest", ""), ("index", ",image-manifest=false")] {
        let cache = format!("{host}/join-cache:{name}");
        let export = format!("type=registry,ref={cache},mode=max{more}");
        let outcome = run(&user, &image, &["--export-cache", &export]);
        let report = &outcome.json().unwrap()["report"];
        assert!(check(report, "registry") >= 4, "{report}");
        has_layers_of_image(report, "registry", &pushed(&image));
        let blobs = blobs(&cache);
        let named = named(report, "registry");
        assert!(named.iter().all(|layer| blobs.contains(layer)), "{named:?}");
        let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
        assert_eq!(keys["cache"], report["cache"]);
    }
}

#[test]
fn a_cache_that_is_imported_is_joined() {
    let host = registry::shared().unwrap();
    let image = format!("{host}/join:imported");
    let cache = format!("{host}/join-cache:imported");
    let first = Daemon::start().unwrap();
    let user = Dagop::new(first.address()).unwrap();
    let export = format!("type=registry,ref={cache},mode=max");
    run(&user, &image, &["--export-cache", &export])
        .json()
        .unwrap();
    // Another machine: what it knows of the cache is what it read.
    let second = Daemon::start().unwrap();
    let other = Dagop::new(second.address()).unwrap();
    let outcome = run(
        &other,
        &image,
        &["--import-cache", &format!("type=registry,ref={cache}")],
    );
    assert_eq!(
        outcome.executed().unwrap(),
        0,
        "{:?}",
        outcome.executed_names()
    );
    let report = &outcome.json().unwrap()["report"];
    assert!(check(report, "registry") >= 4, "{report}");
    has_layers_of_image(report, "registry", &pushed(&image));
    // An image is imported as well, for what is in its config.
    let inline = format!("{host}/join:inline-imported");
    run(&user, &inline, &["--export-cache", "type=inline"])
        .json()
        .unwrap();
    let third = Daemon::start().unwrap();
    let other = Dagop::new(third.address()).unwrap();
    let flags = ["--import-cache", &format!("type=registry,ref={inline}")];
    let outcome = run(&other, &format!("{host}/join:again"), &flags);
    let report = &outcome.json().unwrap()["report"];
    assert!(check(report, "inline") >= 2, "{report}");
    assert!(named(report, "inline").contains(pushed(&inline).last().unwrap()));
    // The cache of a first build is not there yet, and that is nothing to be told.
    let flags = [
        "--import-cache",
        &format!("type=registry,ref={host}/join:none"),
    ];
    let outcome = run(&other, &image, &flags);
    outcome.json().unwrap();
    assert!(
        !outcome.stderr.contains("is not in the ledger"),
        "{outcome:?}"
    );
}

#[test]
fn a_private_registry_is_read_with_the_credentials_of_the_user() {
    let private = Registry::start().unwrap();
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = json!({"auths": {private.address(): {"auth": pair}}}).to_string();
    std::fs::create_dir_all(user.home().join(".docker")).unwrap();
    std::fs::write(user.home().join(".docker/config.json"), config).unwrap();
    let image = format!("{}/join:private", private.address());
    let cache = format!("{}/join-cache:private", private.address());
    let export = format!("type=registry,ref={cache},mode=max");
    let outcome = run(&user, &image, &["--export-cache", &export]);
    let report = &outcome.json().unwrap()["report"];
    assert!(check(report, "registry") >= 4, "{report}");
    assert!(!format!("{outcome:?}").contains(&pair), "{outcome:?}");
}

const PLATFORMS: &str = r#"
query Roots {
  amd64: container(platform: "linux/amd64") {
    withNewFile(path: "/which", contents: "amd64\n") { id @export(as: "amd64") }
  }
  arm64: container(platform: "linux/arm64") {
    withNewFile(path: "/which", contents: "arm64\n") { id @export(as: "arm64") }
  }
}
query Push($amd64: ContainerID!, $arm64: ContainerID!, $image: String!) {
  container { publish(address: $image, platformVariants: [$amd64, $arm64]) }
}"#;

#[test]
fn each_platform_of_an_image_is_joined_with_its_own_layers() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let image = format!("{}/join:platforms", registry::shared().unwrap());
    let outcome = user.query(PLATFORMS, &[("image", &image)]).unwrap();
    let report = &outcome.json().unwrap()["report"];
    let index = manifest(&image);
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{index}");
    let mut seen = 0;
    for entry in entries {
        let name = image.rsplit_once(':').unwrap().0;
        let layers = pushed(&format!("{name}@{}", text(&entry["digest"])));
        let vertices = report["vertices"].as_array().unwrap().iter();
        let own = vertices.flat_map(|vertex| records(report, vertex, "image"));
        let own: Vec<_> = own
            .filter(|r| chain(&report["cache"], r) == layers)
            .collect();
        assert_eq!(own.len(), 1, "{entry}: {report}");
        seen += own.len();
    }
    assert_eq!(seen, 2);
}
