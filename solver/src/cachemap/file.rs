//! Cache map of a file operation.
//!
//! Of what is copied, the digest knows only the last part of the path: where it comes from is the
//! business of the selector, and of the content hash. So a copy hits whenever what it copies has
//! the same content, whatever lies beside it. An input that some action works on (rather than
//! copies from) is always keyed by its records.

use std::collections::BTreeMap;

use proto::pb::{self, file_action::Action};

use super::{
    CacheMap, ContentSelector, InputMap, Profile, Unknown, content,
    json::{self, Object, Value},
};
use crate::{Digest, llb::paths};

/// Index of an absent input.
const NONE: i64 = -1;

/// Selectors by input.
type Selectors = BTreeMap<usize, Vec<ContentSelector>>;

pub(super) fn map(file: &pb::FileOp, op: &pb::Op, profile: Profile) -> Result<CacheMap, Unknown> {
    let count = op.inputs.len();
    let mut selectors = Selectors::new();
    let mut actions = Vec::with_capacity(file.actions.len());
    for action in &file.actions {
        let json = write(action, count, &mut selectors, profile)?;
        actions.push(json::base64(&json.bytes(profile)?));
    }
    let json = document(file, actions);
    if let Some(input) = selectors.keys().find(|&&input| input >= count) {
        return Err(Unknown::Invalid(format!(
            "an action uses the input {input} of {count}"
        )));
    }
    for action in &file.actions {
        if let Ok(input) = usize::try_from(action.input) {
            selectors.remove(&input);
        }
    }
    let inputs = (0..count)
        .map(|input| input_map(selectors.remove(&input)))
        .collect();
    Ok(CacheMap {
        digest: json.digest(profile)?,
        inputs,
    })
}

/// The operation, around its actions.
fn document(file: &pb::FileOp, actions: Vec<Value>) -> Object {
    let json = Object::new()
        .always("Type", "buildkit.file.v0")
        .always("Actions", actions);
    if has_usual_indexes(&file.actions) {
        return json;
    }
    let triple = |action: &pb::FileAction| {
        let triple = [action.input, action.secondary_input, action.output];
        Value::List(triple.into_iter().map(Value::from).collect())
    };
    let triples: Vec<Value> = file.actions.iter().map(triple).collect();
    json.always("indexes", triples)
}

/// What the digest is of, for people: actions not in base64, and sizes in place of what is in
/// files.
pub(super) fn readable(
    file: &pb::FileOp,
    op: &pb::Op,
    profile: Profile,
) -> Result<Object, Unknown> {
    let mut actions = Vec::with_capacity(file.actions.len());
    for action in &file.actions {
        let mut action = action.clone();
        let mut size = None;
        if let Some(Action::Mkfile(mkfile)) = &mut action.action {
            size = Some(std::mem::take(&mut mkfile.data).len());
        }
        let mut json = write(&action, op.inputs.len(), &mut Selectors::new(), profile)?;
        if let Some(size) = size {
            json = json.always("data", &format!("({size} bytes)"));
        }
        actions.push(Value::Object(json));
    }
    Ok(document(file, actions))
}

/// JSON of an action; what it selects is added to `selectors`.
fn write(
    action: &pb::FileAction,
    inputs: usize,
    selectors: &mut Selectors,
    profile: Profile,
) -> Result<Object, Unknown> {
    match &action.action {
        Some(Action::Copy(copy)) => {
            select_owner(copy.owner.as_ref(), selectors)?;
            match usize::try_from(action.secondary_input) {
                Ok(input) if input < inputs => {
                    selectors
                        .entry(input)
                        .or_default()
                        .push(select_source(copy));
                    let mut copy = copy.clone();
                    copy.src = paths::base(&copy.src).to_owned();
                    Ok(json::copy(&copy, profile))
                }
                Ok(_) => Ok(json::copy(copy, profile)),
                Err(_) if action.secondary_input == NONE => Ok(json::copy(copy, profile)),
                Err(_) => Err(Unknown::Invalid(format!(
                    "an action uses the input {}",
                    action.secondary_input
                ))),
            }
        }
        Some(Action::Mkfile(mkfile)) => {
            select_owner(mkfile.owner.as_ref(), selectors)?;
            Ok(json::mkfile(mkfile, profile))
        }
        Some(Action::Mkdir(mkdir)) => {
            select_owner(mkdir.owner.as_ref(), selectors)?;
            Ok(json::mkdir(mkdir, profile))
        }
        Some(Action::Rm(rm)) => Ok(json::rm(rm)),
        // The daemon does not look at the owner of a link here.
        Some(Action::Symlink(symlink)) => Ok(json::symlink(symlink, profile)),
        None => Err(Unknown::Unsupported(
            "an action of this file operation".to_owned(),
        )),
    }
}

fn select_source(copy: &pb::FileActionCopy) -> ContentSelector {
    ContentSelector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && has_wildcards(&copy.src),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        required: copy.required_paths.clone(),
    }
}

/// Whether a path has a character that a pattern gives a meaning.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A name is looked up in a file, so the content of that file counts.
fn select_owner(owner: Option<&pb::ChownOpt>, selectors: &mut Selectors) -> Result<(), Unknown> {
    let Some(owner) = owner else {
        return Ok(());
    };
    for (user, file) in [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")] {
        let Some(pb::user_opt::User::ByName(named)) = user.as_ref().and_then(|u| u.user.as_ref())
        else {
            continue;
        };
        let input = usize::try_from(named.input)
            .map_err(|_| Unknown::Invalid("an owner is looked up in no input".to_owned()))?;
        selectors
            .entry(input)
            .or_default()
            .push(ContentSelector::path(file, true));
    }
    Ok(())
}

/// Whether the indexes are those of a simple chain, which the digest leaves out. The daemon counts
/// actions here where one would expect inputs.
fn has_usual_indexes(actions: &[pb::FileAction]) -> bool {
    let last = actions.len().wrapping_sub(1);
    !actions.is_empty()
        && actions.iter().enumerate().all(|(position, action)| {
            let input = if position == 0 {
                Some(0)
            } else {
                Some(actions.len() + position - 1)
            };
            let output = if position == last { 0 } else { NONE };
            usize::try_from(action.input).ok() == input
                && matches!(action.secondary_input, NONE | 1)
                && action.output == output
        })
}

fn input_map(selectors: Option<Vec<ContentSelector>>) -> InputMap {
    let Some(selectors) = selectors else {
        return InputMap::default();
    };
    let mut paths: Vec<&str> = selectors
        .iter()
        .map(|selector| selector.path.as_str())
        .collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    let selector = Some(Digest::sha256(paths.join("\0").as_bytes()));
    InputMap {
        selector,
        content: Some(content::deduplicate(selectors)),
    }
}
