//! Cache maps of merge, diff, build and passthrough: the operation and nothing else.
//!
//! All merges of the same number of inputs have the same digest; what is merged shows in the links
//! to the inputs' records only.

use proto::pb;

use super::{
    CacheMap, InputMap, Profile, Unknown,
    json::{self, Object},
};
use crate::Digest;

pub(super) fn merge(merge: &pb::MergeOp, profile: Profile) -> Result<CacheMap, Unknown> {
    unhashed(&merge_json(merge, profile), merge.inputs.len(), profile)
}

pub(super) fn merge_json(merge: &pb::MergeOp, profile: Profile) -> Object {
    Object::new()
        .always("Type", "buildkit.merge.v0")
        .always("Merge", json::merge(merge, profile))
}

pub(super) fn diff(diff: &pb::DiffOp, profile: Profile) -> Result<CacheMap, Unknown> {
    let (Some(lower), Some(upper)) = (&diff.lower, &diff.upper) else {
        return Err(Unknown::Invalid("a side of the diff is missing".to_owned()));
    };
    let inputs = [lower.input, upper.input]
        .into_iter()
        .filter(|&input| input >= 0)
        .count();
    unhashed(&diff_json(diff, profile), inputs, profile)
}

pub(super) fn diff_json(diff: &pb::DiffOp, profile: Profile) -> Object {
    Object::new()
        .always("Type", "buildkit.diff.v0")
        .always("Diff", json::diff(diff, profile))
}

pub(super) fn build(
    build: &pb::BuildOp,
    op: &pb::Op,
    profile: Profile,
) -> Result<CacheMap, Unknown> {
    if build.def.is_some() {
        return Err(Unknown::Unsupported(
            "a definition inside of a build".to_owned(),
        ));
    }
    plain(&build_json(build, profile), op.inputs.len(), profile)
}

pub(super) fn build_json(build: &pb::BuildOp, profile: Profile) -> Object {
    Object::new()
        .always("Type", "buildkit.build.v0")
        .always("Exec", json::build(build, profile))
}

pub(super) fn passthrough(
    passthrough: &pb::PassthroughOp,
    op: &pb::Op,
    profile: Profile,
) -> Result<CacheMap, Unknown> {
    plain(&passthrough_json(passthrough), op.inputs.len(), profile)
}

pub(super) fn passthrough_json(passthrough: &pb::PassthroughOp) -> Object {
    Object::new()
        .always("Type", "buildkit.passthrough.v0")
        .always("Passthrough", json::passthrough(passthrough))
}

fn plain(json: &Object, inputs: usize, profile: Profile) -> Result<CacheMap, Unknown> {
    Ok(CacheMap {
        digest: json.digest(profile)?,
        inputs: vec![InputMap::default(); inputs],
    })
}

/// Of what old releases key by the JSON itself.
fn unhashed(json: &Object, inputs: usize, profile: Profile) -> Result<CacheMap, Unknown> {
    let mut map = plain(json, inputs, profile)?;
    if profile.keeps_json() {
        map.digest = Digest::verbatim(&json.text(profile)?);
    }
    Ok(map)
}
