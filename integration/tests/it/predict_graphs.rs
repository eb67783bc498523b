//! Random graphs of all operations that a daemon can build.
//!
//! A graph is grown step by step from local directories, an image and scratch. A value is an output
//! with the paths that are known to exist in it, so that most steps succeed. File operations are in
//! `files`.

mod files;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use solver::{
    Digest,
    llb::{
        self, Constraints, Kind, NetMode, Output,
        exec::{CacheSharing, ContentCache, Exec, Mount, Secret, SshAgent},
        file::{FileOp, MkdirOptions, MkfileOptions},
        source::{
            BlobOptions, LocalOptions, OciLayoutOptions, OciStore, local, oci_layout,
            oci_layout_blob,
        },
    },
    predict::Source,
};

use crate::{
    predict_remote::Offer,
    predict_world::{Dice, Image, Listing},
};

/// Name of the content store.
pub(crate) const STORE: &str = "world";

/// Which operations the daemon knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// Minor version of the daemon.
    pub(crate) minor: u32,
}

/// An output, and what is in it.
#[derive(Clone)]
struct Value {
    output: Output,
    listing: Listing,
    /// Commands can run in it.
    is_root: bool,
    /// It is never an empty result, which v0.32.2 cannot take as the upper side of a diff.
    is_solid: bool,
}

/// A graph on its way.
pub(crate) struct Growth<'a> {
    dice: Dice,
    nonce: String,
    features: Features,
    values: Vec<Value>,
    locals: &'a [(String, Listing)],
    image: &'a Image,
    offer: &'a Offer<'a>,
    sources: HashMap<Digest, Source>,
    counter: usize,
}

/// A graph.
pub(crate) struct Grown {
    pub(crate) result: Output,
    /// What the sources of the network resolve to, by raw digest of the vertex.
    pub(crate) sources: HashMap<Digest, Source>,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(
        seed: u64,
        features: Features,
        locals: &'a [(String, Listing)],
        image: &'a Image,
        offer: &'a Offer<'a>,
    ) -> Self {
        Self {
            dice: Dice::new(seed ^ 0x5eed),
            nonce: format!("n{seed}"),
            features,
            values: Vec::new(),
            locals,
            image,
            offer,
            sources: HashMap::new(),
            counter: 0,
        }
    }

    pub(crate) fn grow(mut self) -> Result<Grown, llb::Error> {
        let result = self.result()?;
        Ok(Grown {
            result,
            sources: self.sources,
        })
    }

    fn result(&mut self) -> Result<Output, llb::Error> {
        self.source()?;
        self.image()?;
        for _ in 0..self.dice.below(9) + 2 {
            match self.dice.below(21) {
                0 if self.dice.chance(30) => self.image()?,
                0 => self.source()?,
                20 if self.dice.chance(50) => self.twins()?,
                1..=4 => self.file()?,
                5..=9 => self.copy()?,
                10..=13 => self.exec()?,
                14..=15 => self.merge(),
                16..=17 => self.diff(),
                18 => self.passthrough()?,
                _ => self.nested()?,
            }
        }
        // A merge of all, or the last value alone.
        if self.dice.chance(75) {
            let outputs = self.values.iter().map(|value| value.output.clone());
            let with_records = outputs.filter(|output| {
                let source = output.vertex().source();
                !source.is_some_and(|source| source.identifier.starts_with("local://"))
            });
            let inputs: Vec<Option<Output>> = with_records.map(Some).collect();
            if let Some(output) = llb::merge(&inputs, Constraints::default()) {
                return Ok(output);
            }
        }
        let last = self.values.pop().expect("sources come first");
        // A source alone has nothing to export.
        FileOp::new(Some(last.output))
            .mkfile("/last", 0o644, self.nonce.clone(), MkfileOptions::default())
            .build(Constraints::default())
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.counter += 1;
        format!("{kind}{}", self.counter)
    }

    fn value(&mut self) -> Value {
        self.dice.pick(&self.values).clone()
    }

    /// A value that is no bare local directory.
    fn base(&mut self) -> Value {
        let value = self.value();
        let is_local = value
            .output
            .vertex()
            .source()
            .is_some_and(|source| source.identifier.starts_with("local://"));
        if is_local && self.dice.chance(70) {
            let at = self.values.iter().position(|value| value.is_root);
            return at.map_or(value, |at| self.values[at].clone());
        }
        value
    }

    fn source(&mut self) -> Result<(), llb::Error> {
        if self.dice.chance(30) {
            let remote = self.offer.any(&mut self.dice)?;
            let digest = remote.output.vertex().digest().clone();
            self.sources.insert(digest, remote.source);
            self.push(remote.output, remote.listing, remote.is_root);
            return Ok(());
        }
        let (name, listing) = self.dice.pick(self.locals).clone();
        let mut options = LocalOptions {
            unique: Some(self.nonce.clone()),
            ..LocalOptions::default()
        };
        let mut listing = listing;
        match self.dice.below(6) {
            0 => {
                options.exclude = vec!["**/c.txt".to_owned(), "A".to_owned(), "!A/a".to_owned()];
                listing = Listing::default();
            }
            1 => {
                options.include = vec!["a".to_owned(), "*.txt".to_owned(), "e/**".to_owned()];
                listing = Listing::default();
            }
            2 => {
                options.follow_paths = vec!["a".to_owned(), "b".to_owned(), "x-*".to_owned()];
                listing = Listing::default();
            }
            _ => {}
        }
        let output = local(&name, options);
        self.push(output, listing, false);
        Ok(())
    }

    fn image(&mut self) -> Result<(), llb::Error> {
        let store = OciStore {
            session_id: None,
            store_id: Some(STORE.to_owned()),
        };
        if self.features.minor >= 28 && self.dice.chance(15) {
            let options = BlobOptions {
                filename: Some("blob".to_owned()),
                mode: 0o640,
                store: store.clone(),
                ..BlobOptions::default()
            };
            let reference = format!("test/world@{}", self.image.manifest);
            let output = oci_layout_blob(&reference, options)?;
            self.push(output, Listing::default(), false);
        }
        let digest = match self.dice.below(10) {
            0 => &self.image.index,
            _ => &self.image.manifest,
        };
        let options = OciLayoutOptions {
            store,
            layer_limit: self.dice.chance(10).then_some(1),
            constraints: Constraints::default(),
        };
        let output = oci_layout(&format!("test/world@{digest}"), options)?;
        let listing = Listing {
            files: ["/bin/busybox", "/etc/passwd", "/etc/group", "/etc/issue"]
                .map(str::to_owned)
                .to_vec(),
            dirs: ["/bin", "/etc", "/tmp", "/work"]
                .map(str::to_owned)
                .to_vec(),
            links: vec!["/bin/sh".to_owned()],
        };
        self.push(output, listing, true);
        Ok(())
    }

    fn push(&mut self, output: Output, listing: Listing, is_root: bool) {
        let kind = output.vertex().kind();
        let is_solid = matches!(kind, Kind::File | Kind::Source) || is_root;
        self.values.push(Value {
            output,
            listing,
            is_root,
            is_solid,
        });
    }

    /// A command that leaves something behind, with mounts of every kind.
    fn exec(&mut self) -> Result<(), llb::Error> {
        let roots: Vec<Value> = self
            .values
            .iter()
            .filter(|value| value.is_root)
            .cloned()
            .collect();
        let root = self.dice.pick(&roots).clone();
        let name = self.fresh("run");
        let mut listing = root.listing.clone();
        let readonly = self.dice.chance(15);
        let nonce = self.nonce.clone();
        let script = match readonly {
            true => "true".to_owned(),
            false => {
                format!("echo '{nonce} <&>' > /{name}; mkdir -p /d{name}/x; chmod 700 /d{name}")
            }
        };
        let script = format!("{script}; echo {nonce} > /out/{name} || true");
        let mut exec = Exec::new(
            Some(root.output.clone()),
            ["/bin/busybox", "sh", "-c", &script],
        )
        .env("NONCE", &nonce)
        .directory(*self.dice.pick(&["/", "/work", "/made"]))
        .readonly_root(readonly);
        if self.dice.chance(10) {
            exec = exec.user("root").hostname("host");
        }
        if self.dice.chance(10) {
            exec = exec.extra_host("example.test", IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        if self.dice.chance(10) {
            exec = exec.ulimit("nofile", 1000, 1000);
        }
        if self.dice.chance(10) && self.features.minor >= 17 {
            exec = exec.valid_exit_codes([0, 3]);
        }
        if self.dice.chance(10) {
            exec = exec.network(NetMode::None);
        }
        let mut outputs = Vec::new();
        for number in 0..self.dice.below(4) {
            let target = format!("/m{number}");
            let mount = self.mount(&target, &name);
            outputs.push(target);
            exec = exec.mount(mount);
        }
        if self.dice.chance(40) {
            exec = exec.mount(Mount::bind("/out", None));
            outputs.push("/out".to_owned());
        }
        if self.dice.chance(10) {
            exec = exec.secret(Secret::file("absent", "/run/absent").optional());
        }
        if self.dice.chance(10) {
            exec = exec.secret(Secret::env("absent", "ABSENT").optional());
        }
        if self.dice.chance(10) {
            exec = exec.ssh_agent(SshAgent::new("absent").target("/run/agent").optional());
        }
        if self.dice.chance(20) {
            exec = exec.constraints(Constraints::default().named(format!("custom {name}")));
        }
        let built = exec.build()?;
        if !readonly {
            listing.files.push(format!("/{name}"));
            listing.dirs.push(format!("/d{name}"));
        }
        if let Some(output) = built.root() {
            self.push(output.clone(), listing, true);
        }
        for target in outputs {
            if let Some(output) = built.mount(&target)
                && self.dice.chance(70)
            {
                self.push(output.clone(), Listing::default(), false);
            }
        }
        Ok(())
    }

    fn mount(&mut self, target: &str, name: &str) -> Mount {
        let source = self.value();
        match self.dice.below(9) {
            0 => Mount::cache(target, target, CacheSharing::Shared),
            1 => Mount::cache(
                target,
                format!("{}/{name}", self.nonce),
                CacheSharing::Locked,
            ),
            2 => Mount::cache(target, format!("ns{target}"), CacheSharing::Private)
                .source(Some(source.output)),
            3 => Mount::tmpfs(target, 4096),
            4 => Mount::bind(target, Some(source.output)),
            5 => Mount::bind(target, Some(source.output)).no_output(),
            6 => {
                let content = match self.features.minor >= 13 {
                    true => *self.dice.pick(&[ContentCache::On, ContentCache::Off]),
                    false => ContentCache::Default,
                };
                Mount::bind(target, Some(source.output))
                    .readonly()
                    .content_cache(content)
            }
            _ => {
                let mut mount = Mount::bind(target, Some(source.output)).readonly();
                let lists = [&source.listing.files, &source.listing.dirs];
                let list = *self.dice.pick(&lists);
                if !list.is_empty() && self.dice.chance(60) {
                    mount = mount.selector(self.dice.pick(list).clone());
                }
                mount
            }
        }
    }

    fn merge(&mut self) {
        let mut inputs = Vec::new();
        let mut listing = Listing::default();
        let mut is_root = false;
        for number in 0..self.dice.below(3) + 2 {
            let value = self.base();
            if number == 0 {
                listing = value.listing.clone();
                is_root = value.is_root;
            }
            inputs.push(Some(value.output));
        }
        if let Some(output) = llb::merge(&inputs, Constraints::default()) {
            // Later inputs may delete or replace; a few paths are good enough.
            listing.files.truncate(if is_root { 4 } else { 0 });
            listing.dirs.clear();
            listing.links.clear();
            self.push(output, listing, false);
        }
    }

    fn diff(&mut self) {
        let lower = self.base();
        let upper = self.base();
        // Half of the time a lower tree that the upper one was made of.
        let below = upper.output.vertex().inputs().first().cloned();
        let lower = match below.filter(|_| self.dice.chance(50)) {
            Some(below) => below,
            None => lower.output,
        };
        if !upper.is_solid || lower == upper.output {
            return;
        }
        let output = llb::diff(Some(&lower), Some(&upper.output), Constraints::default());
        if let Some(output) = output {
            self.push(output, Listing::default(), false);
        }
    }

    fn passthrough(&mut self) -> Result<(), llb::Error> {
        if self.features.minor < 31 {
            return Ok(());
        }
        let values = [self.base(), self.base(), self.base()];
        let inputs: Vec<Output> = values.iter().map(|value| value.output.clone()).collect();
        let outputs = llb::passthrough(&self.nonce, &inputs, &[2, 0], Constraints::default())?;
        for (output, value) in outputs.into_iter().zip([&values[2], &values[0]]) {
            self.push(output, value.listing.clone(), value.is_root);
        }
        Ok(())
    }

    /// A graph in a file of a graph.
    fn nested(&mut self) -> Result<(), llb::Error> {
        let inner = FileOp::new(None)
            .mkfile(
                "/inner",
                0o644,
                self.nonce.clone(),
                MkfileOptions::default(),
            )
            .mkdir("/inside", 0o700, MkdirOptions::default());
        let inner = inner.build(Constraints::default())?;
        let inner = FileOp::new(Some(inner))
            .mkfile("/more", 0o600, self.nonce.clone(), MkfileOptions::default())
            .build(Constraints::default())?;
        let bytes = llb::Definition::marshal(Some(&inner), &Constraints::default()).encode();
        let name = self.fresh("graph");
        let file = FileOp::new(None)
            .mkfile(format!("/{name}"), 0o644, bytes, MkfileOptions::default())
            .build(Constraints::default())?;
        let output = llb::build(&file, Some(&name), Constraints::default());
        let listing = Listing {
            files: vec!["/inner".to_owned(), "/more".to_owned()],
            dirs: vec!["/inside".to_owned()],
            links: Vec::new(),
        };
        self.push(output, listing, false);
        Ok(())
    }
}
