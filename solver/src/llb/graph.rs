//! Operations over whole trees: merge, diff, passthrough, build.

use proto::pb;

use super::{
    Constraints, Error, Output, caps,
    vertex::{PlatformUse, Vertex},
};

/// The trees on top of each other, the last wins. Scratch inputs fall away; what is then a single
/// tree, or none, is returned without a vertex.
#[must_use]
pub fn merge(inputs: &[Option<Output>], constraints: Constraints) -> Option<Output> {
    let inputs: Vec<Output> = inputs.iter().flatten().cloned().collect();
    if inputs.len() < 2 {
        return inputs.into_iter().next();
    }
    let op = pb::MergeOp {
        inputs: (0i64..)
            .zip(&inputs)
            .map(|(input, _)| pb::MergeInput { input })
            .collect(),
    };
    let constraints = constraints.requiring([caps::MERGE_OP]);
    let vertex = Vertex::new(
        pb::op::Op::Merge(op),
        inputs,
        None,
        PlatformUse::Clear,
        constraints,
    );
    Some(vertex.output(0))
}

/// What turns `lower` into `upper`, as a tree to merge onto others. With nothing below, that is
/// `upper` itself.
#[must_use]
pub fn diff(
    lower: Option<&Output>,
    upper: Option<&Output>,
    constraints: Constraints,
) -> Option<Output> {
    let Some(lower) = lower else {
        return upper.cloned();
    };
    let upper_index = if upper.is_some() { 1 } else { -1 };
    let op = pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: 0 }),
        upper: Some(pb::UpperDiffInput { input: upper_index }),
    };
    let inputs = [Some(lower), upper]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let constraints = constraints.requiring([caps::DIFF_OP]);
    let vertex = Vertex::new(
        pb::op::Op::Diff(op),
        inputs,
        None,
        PlatformUse::Clear,
        constraints,
    );
    Some(vertex.output(0))
}

/// Builds all inputs and returns those at the positions `outputs`, unchanged. Needs a daemon of
/// v0.31 or later.
///
/// # Errors
///
/// Without id, inputs or outputs, or if an output is no position of an input.
pub fn passthrough(
    id: &str,
    inputs: &[Output],
    outputs: &[usize],
    constraints: Constraints,
) -> Result<Vec<Output>, Error> {
    let fail = |reason| {
        Err(Error::Option {
            what: format!("passthrough {id:?}"),
            reason,
        })
    };
    if id.is_empty() {
        return fail("it needs an id");
    }
    if inputs.is_empty() || outputs.is_empty() {
        return fail("it needs inputs and outputs");
    }
    if outputs.iter().any(|&output| output >= inputs.len()) {
        return fail("an output is no position of an input");
    }
    let positions = outputs
        .iter()
        .filter_map(|&output| i64::try_from(output).ok())
        .collect();
    let op = pb::PassthroughOp {
        id: id.to_owned(),
        outputs: positions,
    };
    let constraints = constraints.requiring([caps::PASSTHROUGH_OP]);
    let vertex = Vertex::new(
        pb::op::Op::Passthrough(op),
        inputs.to_vec(),
        None,
        PlatformUse::Clear,
        constraints,
    );
    Ok((0i64..)
        .zip(outputs)
        .map(|(index, _)| vertex.output(index))
        .collect())
}

/// Name of the input of a build operation that holds its graph, and of the file in it by default.
pub(crate) const DEFINITION_INPUT: &str = "buildkit.llb.definition";

/// The result of a definition that is stored in a file of `input`, by default
/// `buildkit.llb.definition`.
#[must_use]
pub fn build(input: &Output, filename: Option<&str>, constraints: Constraints) -> Output {
    let op = pb::BuildOp {
        builder: -1,
        inputs: [(DEFINITION_INPUT.to_owned(), pb::BuildInput { input: 0 })].into(),
        def: None,
        attrs: filename
            .map(|name| ("llbbuild.filename".to_owned(), name.to_owned()))
            .into_iter()
            .collect(),
    };
    let constraints = constraints.requiring([caps::BUILD_OP_LLB_FILE_NAME]);
    let inputs = vec![input.clone()];
    Vertex::new(
        pb::op::Op::Build(op),
        inputs,
        None,
        PlatformUse::Keep,
        constraints,
    )
    .output(0)
}
