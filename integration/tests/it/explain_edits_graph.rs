//! Kinds of edits of what a graph is made from: its sources, the files of the local directory, and
//! the steps themselves.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use dagop::explain::Reason;
use proto::pb;

use crate::{
    explain_draft::{Draft, Node},
    explain_edits::Edit,
    explain_pipelines::LOCAL,
};

pub(crate) fn sources() -> Vec<Edit> {
    fn identifier(reference: &str) -> String {
        format!("docker-image://{reference}")
    }
    vec![
        ("digest of an image", |site| {
            let world = site.world;
            let source = site.source(&identifier(&world.images["base"]))?;
            let (image, from) = world.images["base"].rsplit_once('@')?;
            let (_, to) = world.images["base again"].rsplit_once('@')?;
            source.identifier = identifier(&world.images["base again"]);
            Some(Reason::ImageMoved {
                image: image.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
            })
        }),
        ("another image", |site| {
            let world = site.world;
            let source = site.source(&identifier(&world.images["base"]))?;
            let to = identifier(&world.images["new"]);
            let from = std::mem::replace(&mut source.identifier, to.clone());
            Some(Reason::Source { from, to })
        }),
        ("commit", |site| {
            let to = site.world.commits[1].clone();
            let source = site.source("git://")?;
            let (repository, from) = source.identifier.split_once('#')?;
            let (repository, from) = (repository.to_owned(), from.to_owned());
            source.identifier = format!("{repository}#{to}");
            let repository = repository.trim_start_matches("git://").to_owned();
            Some(Reason::Commit {
                repository,
                from,
                to,
            })
        }),
        ("checksum of a download", |site| {
            let world = site.world;
            let source = site.source(&world.download)?;
            world.serve_download(1);
            let to = world.checksums[1].to_string();
            let from = source
                .attrs
                .insert("http.checksum".to_owned(), to.clone())?;
            Some(Reason::Checksum {
                url: source.identifier.clone(),
                from,
                to,
            })
        }),
    ]
}

pub(crate) fn local_files() -> Vec<Edit> {
    fn local(property: &str, path: &str, from: &str, to: &str) -> Option<Reason> {
        Some(Reason::FileProperty {
            source: LOCAL.to_owned(),
            path: path.to_owned(),
            property: property.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }
    vec![
        ("file added", |site| {
            fs::write(site.context.join("src/new.c"), "int new;").unwrap();
            let (source, path) = (LOCAL.to_owned(), "src/new.c".to_owned());
            Some(Reason::FileAdded { source, path })
        }),
        ("file removed", |site| {
            fs::remove_file(site.context.join("src/old.c")).ok()?;
            let (source, path) = (LOCAL.to_owned(), "src/old.c".to_owned());
            Some(Reason::FileRemoved { source, path })
        }),
        ("file changed", |site| {
            let path = "src/deep/part.c".to_owned();
            fs::write(site.context.join(&path), "int changed;").unwrap();
            // The digests are the content hash's own; the test fills them in.
            let (from, to) = (String::new(), String::new());
            Some(Reason::FileContent {
                source: LOCAL.to_owned(),
                path,
                from,
                to,
            })
        }),
        ("mode of a local file", |site| {
            let path = site.context.join("src/main.c");
            fs::set_permissions(path, fs::Permissions::from_mode(0o664)).unwrap();
            local("mode", "src/main.c", "0644", "0664")
        }),
        ("target of a local link", |site| {
            fs::remove_file(site.context.join("src/link")).ok()?;
            symlink("old.c", site.context.join("src/link")).unwrap();
            local("link", "src/link", "main.c", "old.c")
        }),
    ]
}

pub(crate) fn graphs() -> Vec<Edit> {
    vec![
        ("step added", |site| {
            let place = site.take(site.draft.execs())?;
            let mut op = site.draft.nodes[place].op.clone();
            if let Some(pb::op::Op::Exec(exec)) = &mut op.op {
                exec.meta.as_mut()?.args = vec!["/bin/inserted".to_owned(), "alone".to_owned()];
                exec.mounts.retain(|mount| mount.dest == "/");
            }
            let new = site.draft.nodes.len();
            site.touched.insert(new);
            site.draft.nodes.push(Node {
                op,
                metadata: pb::OpMetadata::default(),
                inputs: vec![(place, 0)],
            });
            site.draft.reroute(place, new, new);
            if site.draft.result == place {
                site.draft.result = new;
            }
            Some(Reason::StepAdded)
        }),
        ("step removed", |site| {
            let mut places = site.draft.execs();
            places.retain(|&place| place != site.draft.result);
            let place = site.take(places)?;
            let (root, _) = site.draft.nodes[place].inputs[0];
            site.draft.reroute(place, root, place);
            Some(Reason::StepRemoved)
        }),
        ("steps exchanged", |site| {
            let execs = site.draft.execs();
            let below =
                |draft: &Draft, place: usize| draft.nodes[place].inputs.first().map(|i| i.0);
            let pair = execs.iter().copied().find_map(|upper| {
                let lower = below(site.draft, upper)?;
                let only = |place: usize| {
                    let all = site.draft.nodes.iter().flat_map(|node| &node.inputs);
                    all.filter(|input| input.0 == place).count() == 1
                };
                let free = !site.touched.contains(&upper) && !site.touched.contains(&lower);
                (free && execs.contains(&lower) && only(lower) && only(upper))
                    .then_some((lower, upper))
            });
            let (lower, upper) = pair?;
            site.touched.extend([lower, upper]);
            let nodes = &mut site.draft.nodes;
            let (a, b) = (nodes[lower].op.clone(), nodes[upper].op.clone());
            let (a_more, b_more) = (
                nodes[lower].inputs[1..].to_vec(),
                nodes[upper].inputs[1..].to_vec(),
            );
            nodes[lower].op = b;
            nodes[upper].op = a;
            nodes[lower].inputs.splice(1.., b_more);
            nodes[upper].inputs.splice(1.., a_more);
            Some(Reason::StepMoved)
        }),
    ]
}
