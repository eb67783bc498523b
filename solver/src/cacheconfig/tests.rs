//! Cache documents as daemons write them, damaged ones, and graphs found in them.

use super::*;
use crate::{
    cachemap,
    llb::{
        Constraints, Definition, Output,
        exec::Exec,
        file::{CopyOptions, FileOp},
        source::{self, LocalOptions},
    },
    predict::{self, Nothing},
};

fn digest(number: u8) -> Digest {
    Digest::sha256(&[number])
}

/// A link of a record: its input, selector, and the position it leads to.
type Wire = (usize, Option<u8>, usize);

/// A document of records that only have links.
fn document(records: &[(u8, &[Wire])]) -> String {
    let records = records.iter().map(|(own, links)| {
        let count = links.iter().map(|(input, ..)| input + 1).max().unwrap_or(0);
        let mut inputs = vec![Vec::new(); count];
        for (input, selector, link) in *links {
            let mut json = serde_json::json!({ "link": link });
            if let Some(selector) = selector {
                json["selector"] = digest(*selector).to_string().into();
            }
            inputs[*input].push(json);
        }
        serde_json::json!({ "digest": digest(*own).to_string(), "inputs": inputs })
    });
    serde_json::json!({ "records": records.collect::<Vec<_>>() }).to_string()
}

#[test]
fn a_missing_parent_is_the_first_layer_and_minus_one_is_none() {
    let text = format!(
        r#"{{"layers":[{{"blob":"{a}"}},{{"blob":"{b}","parent":-1}}],
            "records":[{{"digest":"{c}","layers":[{{"layer":0}}]}}]}}"#,
        a = digest(1),
        b = digest(2),
        c = digest(3)
    );
    // The first layer is its own parent: a loop.
    let error = parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "layers[0].parent: its parents form a loop");

    let text = text.replacen(r#""}"#, r#"","parent":1}"#, 1);
    let config = parse(text.as_bytes()).unwrap();
    assert_eq!(config.layers[0].blob, digest(2), "parents come first");
    assert_eq!(config.layers[1].parent, Some(0));
    assert_eq!(config.records[0].results, [1]);
    assert_eq!(config.chain(1), [0, 1]);
}

#[test]
fn every_mistake_is_named_by_its_place() {
    let a = digest(1);
    let cases = [
        ("[]".to_owned(), "it is no cache config"),
        ("{".to_owned(), "it is no cache config"),
        (r#"{"records":[{}]}"#.to_owned(), "missing field `digest`"),
        (
            r#"{"records":[{"digest":"x"}]}"#.to_owned(),
            "records[0].digest: ",
        ),
        (
            document(&[(1, &[(0, None, 7)])]),
            "records[0].inputs[0][0].link: 7 is none of the 1 there are",
        ),
        (
            document(&[(1, &[(0, None, 1)]), (2, &[(1, None, 0)])]),
            "records[0].inputs: its links form a loop",
        ),
        (
            document(&[(1, &[(0, None, 0)])]),
            "records[0].inputs: its links form a loop",
        ),
        (
            format!(
                r#"{{"records":[{{"digest":"{a}","inputs":[[{{"link":0,"selector":"s"}}]]}}]}}"#
            ),
            "records[0].inputs[0][0].selector: ",
        ),
        (
            format!(r#"{{"records":[{{"digest":"{a}","layers":[{{"layer":0}}]}}]}}"#),
            "records[0].layers[0].layer: 0 is none of the 0 there are",
        ),
        (
            format!(r#"{{"layers":[{{"blob":"{a}","parent":5}}]}}"#),
            "layers[0].parent: 5 is none of the 1 there are",
        ),
        (
            format!(r#"{{"layers":[{{"blob":"{a}","parent":-2}}]}}"#),
            "layers[0].parent: -2 is neither a position nor -1",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let bytes = DOCUMENT_BYTES_MAX + 1;
    let max = DOCUMENT_BYTES_MAX;
    assert_eq!(
        parse(&vec![b' '; bytes]),
        Err(Error::TooLarge { bytes, max })
    );
}

#[test]
fn equal_records_have_equal_digests_wherever_they_stand() {
    let one = document(&[(1, &[]), (2, &[]), (3, &[(0, Some(9), 0), (0, None, 1)])]);
    let two = document(&[
        (2, &[]),
        (3, &[(0, None, 0), (0, Some(9), 2), (0, None, 0)]),
        (1, &[]),
    ]);
    let (one, two) = (
        parse(one.as_bytes()).unwrap(),
        parse(two.as_bytes()).unwrap(),
    );
    assert_eq!(one.canonical()[2], two.canonical()[1]);
    assert_ne!(one.canonical()[2], digest(3));
    let other = document(&[(1, &[]), (2, &[]), (3, &[(0, None, 0), (0, None, 1)])]);
    let other = parse(other.as_bytes()).unwrap();
    assert_ne!(
        one.canonical()[2],
        other.canonical()[2],
        "the selector counts"
    );
}

/// Long chains neither recurse nor take long.
#[test]
fn a_chain_of_a_hundred_thousand_records_is_read() {
    let records = (0..100_000_i64).map(|number| match number {
        0 => serde_json::json!({ "digest": digest(0).to_string() }),
        _ => serde_json::json!({ "digest": digest(0).to_string(), "inputs": [[{ "link": number - 1 }]] }),
    });
    let text = serde_json::json!({ "records": records.collect::<Vec<_>>() }).to_string();
    let config = parse(text.as_bytes()).unwrap();
    let canonical = config.canonical();
    assert_eq!(canonical.len(), 100_000);
    assert_ne!(canonical[1], canonical[2]);
}

fn exec(base: Option<Output>, word: &str) -> Output {
    let exec = Exec::new(base, ["/bin/step", word]).constraints(Constraints::default());
    exec.build().unwrap().root().unwrap().clone()
}

fn prediction(output: &Output) -> predict::Prediction {
    let definition = Definition::marshal(Some(output), &Constraints::default());
    predict::predict(&definition, &Nothing, cachemap::Profile::NEWEST).unwrap()
}

#[test]
fn the_same_step_twice_in_a_chain_matches_each_at_its_place() {
    let mut output = exec(None, "same");
    for _ in 0..300 {
        output = exec(Some(output), "same");
    }
    let prediction = prediction(&output);
    let found = matches(&prediction, &prediction.as_cache());
    let expected: Vec<Vec<usize>> = (0..301).map(|position| vec![position]).collect();
    let mut records = found.records;
    records.sort();
    assert_eq!(records, expected);
}

#[test]
fn a_record_behind_another_selector_or_parent_is_another_record() {
    let prediction = prediction(&exec(Some(exec(None, "a")), "b"));
    let mut cache = prediction.as_cache();
    let top = cache
        .records
        .iter()
        .position(|r| !r.inputs[..].concat().is_empty());
    let top = top.unwrap();
    let below = 1 - top;
    cache.records[top].inputs[0][0].selector = Some(digest(7));
    let found = matches(&prediction, &cache);
    assert_eq!(
        (found.records[top].len(), found.records[below].len()),
        (0, 1)
    );

    let mut cache = prediction.as_cache();
    cache.records[below].digest = digest(8);
    let found = matches(&prediction, &cache);
    assert_eq!(
        (found.records[top].len(), found.records[below].len()),
        (0, 0)
    );
}

/// The content beside a link is what the linked step wrote; beside another link, what another wrote.
#[test]
fn content_is_learnt_beside_a_predicted_link_only() {
    let copy = FileOp::new(None)
        .copy(exec(None, "make"), "/a", "/b", CopyOptions::default())
        .build(Constraints::default())
        .unwrap();
    let prediction = prediction(&copy);
    let copied = prediction
        .records
        .iter()
        .position(|r| !r.unknown.is_empty());
    let copied = copied.unwrap();
    let mut cache = prediction.as_cache();
    let content = cache.records.len();
    for root in [cachemap::record(&digest(5), -1), digest(6)] {
        cache.records.push(Record {
            digest: root,
            inputs: Vec::new(),
            results: Vec::new(),
        });
    }
    cache.records[copied].inputs[0].push(Link {
        record: content,
        selector: None,
    });
    for found in [
        matches(&prediction, &cache),
        known_matches(&prediction, &cache),
    ] {
        assert_eq!(found.records[copied], [copied]);
        assert_eq!(found.contents[copied], [(0, content)]);
    }
    // The same copy from another step.
    cache.records[copied].inputs[0][0].record = content + 1;
    for found in [
        matches(&prediction, &cache),
        known_matches(&prediction, &cache),
    ] {
        assert!(found.records[copied].is_empty(), "{found:?}");
        assert!(found.contents[copied].is_empty(), "{found:?}");
    }
}

#[test]
fn content_that_nobody_hashed_is_learnt_from_the_cache() {
    let local = source::local("src", LocalOptions::default());
    let copy = FileOp::new(None)
        .copy(local, "/a", "/b", CopyOptions::default())
        .build(Constraints::default())
        .unwrap();
    let prediction = prediction(&exec(Some(copy), "use"));
    let mut cache = prediction.as_cache();
    let content = cachemap::record(&digest(5), -1);
    let unknown = prediction
        .records
        .iter()
        .position(|r| !r.unknown.is_empty());
    let unknown = unknown.unwrap();
    let link = Link {
        record: cache.records.len(),
        selector: None,
    };
    cache.records[unknown].inputs[0] = vec![link.clone()];
    cache.records.push(Record {
        digest: content,
        inputs: Vec::new(),
        results: Vec::new(),
    });
    let found = matches(&prediction, &cache);
    assert_eq!(found.contents[unknown], [(0, link.record)]);
    // In a cache of somebody else it could be the content of anything.
    let known = known_matches(&prediction, &cache);
    assert_eq!(
        (&known.records[unknown], &known.contents[unknown]),
        (&vec![], &vec![])
    );
    assert!(
        found.records.iter().all(|matched| matched.len() == 1),
        "{found:?}"
    );
}

#[test]
fn a_cache_is_found_in_each_of_its_containers() {
    let (a, b, c) = (digest(1), digest(2), digest(3));
    let config = format!(r#"{{"mediaType":"{MEDIA_TYPE}","digest":"{a}","size":3}}"#);
    let layer = format!(
        r#"{{"mediaType":"m","digest":"{b}","size":9,"annotations":{{"containerd.io/uncompressed":"{c}"}}}}"#
    );
    let manifest = format!(r#"{{"config":{config},"layers":[{layer}]}}"#);
    let index = format!(r#"{{"manifests":[{layer},{config}]}}"#);
    for text in [manifest, index] {
        let Place::Document { digest, blobs } = locate(text.as_bytes()).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(digest, a);
        let mut config = Config {
            layers: vec![Layer {
                blob: b.clone(),
                parent: None,
                diff_id: None,
                size: None,
                media_type: None,
            }],
            records: Vec::new(),
        };
        config.describe(&blobs);
        assert_eq!(
            (config.layers[0].size, &config.layers[0].diff_id),
            (Some(9), &Some(c.clone()))
        );
    }
    let platforms = format!(
        r#"{{"manifests":[{{"digest":"{a}","platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#
    );
    let expected = Place::Manifests(vec![(a, Some("linux/arm64/v8".to_owned()))]);
    assert_eq!(locate(platforms.as_bytes()), Ok(expected));
    assert!(locate(b"{}").is_err());
}

#[test]
fn an_inline_cache_names_the_layers_of_its_image() {
    use base64::Engine as _;
    let (a, b, c) = (digest(1), digest(2), digest(3));
    let records = format!(
        r#"[{{"digest":"{a}","layers":[{{"layer":1}}]}},{{"digest":"{b}","chains":[{{"layers":[1]}}]}}]"#
    );
    let records = base64::prelude::BASE64_STANDARD.encode(records);
    let image =
        |ids: &str| format!(r#"{{"rootfs":{{"diff_ids":[{ids}]}},"{INLINE_KEY}":"{records}"}}"#);
    let layers = [
        (a.clone(), locate::Blob::default()),
        (b.clone(), locate::Blob::default()),
    ];
    let both = image(&format!(r#""{b}","{c}""#));
    let config = inline_records(both.as_bytes(), &layers).unwrap().unwrap();
    assert_eq!(config.records[0].results, [1]);
    assert_eq!(config.chain(1), [0, 1]);
    // A result that is not the lowest layers of the image has a chain of its own.
    assert_eq!(config.records[1].results, [2]);
    assert_eq!(config.chain(2), [2]);
    assert_eq!(config.layers[2].blob, b);

    let error = inline_records(image(&format!(r#""{b}""#)).as_bytes(), &layers);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("1 diff ids for 2 layers")
    );
    assert_eq!(inline_records(b"{}", &layers), Ok(None));
}
