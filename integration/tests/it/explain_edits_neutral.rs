//! Kinds of edits that change no key of any step, though some change digests of vertices.

use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use proto::pb;

use crate::explain_edits::Site;

/// An edit: its name, and how it is made. None if the graph has no place for it.
pub(crate) type Neutral = (&'static str, fn(&mut Site<'_>) -> Option<()>);

/// All kinds.
pub(crate) fn all() -> Vec<Neutral> {
    vec![
        ("name of a step", |site| {
            let place = site.take(site.draft.execs())?;
            let description = &mut site.draft.nodes[place].metadata.description;
            description.insert("llb.customname".to_owned(), "another name".to_owned());
            Some(())
        }),
        ("group of a step", |site| {
            let place = site.take(site.draft.execs())?;
            site.draft.nodes[place].metadata.progress_group = Some(pb::ProgressGroup {
                id: "group".to_owned(),
                name: "group".to_owned(),
                weak: false,
            });
            Some(())
        }),
        ("address of an extra host", |site| {
            site.meta()?.extra_hosts[0].ip = "10.0.0.9".to_owned();
            Some(())
        }),
        ("proxy", |site| {
            site.meta()?.proxy_env = Some(pb::ProxyEnv {
                http_proxy: "http://proxy.example.com".to_owned(),
                ..pb::ProxyEnv::default()
            });
            Some(())
        }),
        ("id of a cache", |site| {
            site.mount("/cache")?.cache_opt.as_mut()?.id = "another".to_owned();
            Some(())
        }),
        ("hint of a local directory", |site| {
            let attributes = &mut site.source("local://")?.attrs;
            attributes.insert("local.sharedkeyhint".to_owned(), "hint".to_owned());
            Some(())
        }),
        ("file that no step takes", |site| {
            fs::write(site.context.join("ignored.md"), "other words").unwrap();
            Some(())
        }),
        ("time of a local file", |site| {
            let file = File::open(site.context.join("src/main.c")).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            file.set_modified(time).unwrap();
            Some(())
        }),
    ]
}
