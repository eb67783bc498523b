//! Bytes of Go's encoding/json (recorded in `testdata/go-json.tsv`), and properties.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

/// Values and what `encoding/json` of Go 1.26 makes of them: `string \t hex of the text \t hex of
/// the JSON`, and `f64` and `f32` with the bits of the number in place of the text.
const GO_JSON: &str = include_str!("../../testdata/go-json.tsv");

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    to_string(value).expect("it has string keys")
}

#[test]
fn strings_and_floats_are_those_of_go() {
    let text = |hex: &str| {
        String::from_utf8(hex::decode(hex).expect("hexadecimal")).expect("Go wrote UTF-8")
    };
    let mut cases = 0;
    for line in GO_JSON.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [kind, value, expected] = columns[..] else {
            panic!("three columns: {line}")
        };
        let ours = match kind {
            "string" => json(&text(value)),
            "f64" => json(&f64::from_bits(
                u64::from_str_radix(value, 16).expect("bits"),
            )),
            "f32" => json(&f32::from_bits(
                u32::from_str_radix(value, 16).expect("bits"),
            )),
            other => panic!("no case for {other}"),
        };
        assert_eq!(ours, text(expected), "{line}");
        cases += 1;
    }
    assert_eq!(cases, 40, "all cases of the file ran");
}

#[test]
fn fields_keep_their_order_and_maps_are_sorted() {
    #[derive(Serialize)]
    struct Value {
        z: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        y: Option<u8>,
        a: BTreeMap<&'static str, Vec<i64>>,
    }
    let a = [("b", vec![]), ("a<", vec![-1, i64::MAX])].into();
    assert_eq!(
        json(&Value { z: "", y: None, a }),
        r#"{"z":"","a":{"a\u003c":[-1,9223372036854775807],"b":[]}}"#
    );
}

#[test]
fn keys_that_are_no_strings_are_refused() {
    assert!(to_vec(&BTreeMap::from([((1, 2), 3)])).is_err());
}

proptest! {
    #[test]
    fn strings_read_back(text in any::<String>()) {
        let written = json(&text);
        let escaped = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        prop_assert!(!written.contains(escaped));
        prop_assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
    }

    #[test]
    fn floats_read_back(number in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
        prop_assert_eq!(json(&number).parse(), Ok(number));
    }
}
