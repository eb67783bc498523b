//! File operations of a random graph: actions in a tree, and copies from one tree into another.

use solver::llb::{
    self, Constraints,
    file::{
        CopyMode, CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner, RmOptions,
        SymlinkOptions,
    },
};

use super::{Growth, Value};
use crate::predict_world::Listing;

impl Growth<'_> {
    fn owner(&mut self, value: Option<&Value>) -> Option<Owner> {
        match self.dice.below(8) {
            0 => Some(Owner::ids(1000, 0)),
            1 => Some(Owner::parse("12:34")),
            2 if value.is_some_and(|value| value.is_root) => Some(Owner::parse("guest:guest")),
            3 if value.is_some() => Some(Owner::parse("nobody-known")),
            _ => None,
        }
    }

    pub(super) fn file(&mut self) -> Result<(), llb::Error> {
        let base = (!self.dice.chance(35)).then(|| self.base());
        let mut listing = base
            .as_ref()
            .map(|base| base.listing.clone())
            .unwrap_or_default();
        let mut op = FileOp::new(base.as_ref().map(|base| base.output.clone()));
        for _ in 0..self.dice.below(5) + 1 {
            let owner = self.owner(base.as_ref());
            op = match self.dice.below(8) {
                0 | 1 => {
                    let path = self.below_directory(&listing, "dir");
                    let parents = self.dice.chance(60);
                    listing.dirs.push(path.clone());
                    let mode = *self.dice.pick(&[0o755, 0o700, 0o777, 0o1777]);
                    let options = MkdirOptions {
                        parents,
                        owner,
                        ..MkdirOptions::default()
                    };
                    op.mkdir(path, mode, options)
                }
                2..=4 => {
                    let path = self.below_directory(&listing, "file");
                    listing.files.push(path.clone());
                    let mode = *self.dice.pick(&[0o644, 0o755, 0o600, 0o4755]);
                    // Some contents are alike, with < and & and zero bytes in them.
                    let data = match self.dice.below(4) {
                        0 => format!("<{}> & \u{8}\0", self.nonce),
                        _ => format!("{} {path}", self.nonce),
                    };
                    let options = MkfileOptions {
                        owner,
                        ..MkfileOptions::default()
                    };
                    op.mkfile(path, mode, data, options)
                }
                5 if self.features.minor >= 19 => {
                    let path = self.below_directory(&listing, "link");
                    let target = match listing.files.first() {
                        Some(file) if self.dice.chance(50) => file.clone(),
                        _ => "../nowhere".to_owned(),
                    };
                    listing.links.push(path.clone());
                    let options = SymlinkOptions {
                        owner,
                        ..SymlinkOptions::default()
                    };
                    op.symlink(target, path, options)
                }
                6 if !listing.files.is_empty() => {
                    let path = self.dice.pick(&listing.files).clone();
                    listing
                        .files
                        .retain(|file| *file != path && file != "/bin/busybox");
                    if path == "/bin/busybox" {
                        continue;
                    }
                    op.rm(
                        path,
                        RmOptions {
                            allow_not_found: true,
                            wildcard: false,
                        },
                    )
                }
                _ => {
                    let options = RmOptions {
                        allow_not_found: true,
                        wildcard: true,
                    };
                    listing
                        .files
                        .retain(|file| !file.ends_with(".txt") || file[1..].contains('/'));
                    op.rm("/*.txt", options)
                }
            };
        }
        if op.is_empty() {
            return Ok(());
        }
        let is_root = base.is_some_and(|base| base.is_root);
        let output = op.build(Constraints::default())?;
        self.push(output, listing, is_root);
        Ok(())
    }

    fn below_directory(&mut self, listing: &Listing, kind: &str) -> String {
        let name = self.fresh(kind);
        match listing.dirs.is_empty() || self.dice.chance(50) {
            true => format!("/{name}"),
            false => format!("{}/{name}", self.dice.pick(&listing.dirs)),
        }
    }

    /// A copy of anything into anything.
    pub(super) fn copy(&mut self) -> Result<(), llb::Error> {
        let from = self.value();
        let to = (!self.dice.chance(30)).then(|| self.base());
        let mut listing = to.as_ref().map(|to| to.listing.clone()).unwrap_or_default();
        let mut options = CopyOptions {
            create_parents: true,
            allow_empty_wildcard: true,
            contents_only: self.dice.chance(40),
            follow_symlinks: self.dice.chance(40),
            owner: self.owner(to.as_ref()),
            replace: self.dice.chance(10),
            ..CopyOptions::default()
        };
        if self.dice.chance(30) {
            options.mode = Some(CopyMode::Bits(*self.dice.pick(&[0o600, 0o755, 0o4750, 0])));
        }
        if self.dice.chance(15) {
            options.include = vec!["*.txt".to_owned(), "**/b".to_owned(), "e/*".to_owned()];
        }
        if self.dice.chance(20) {
            options.exclude = vec!["**/a".to_owned(), "!e/a".to_owned(), "busybox".to_owned()];
        }
        let source = self.copied(&from, &mut options);
        if self.features.minor >= 26 && from.listing.dirs.contains(&source) {
            self.require(&from, &source, &mut options);
        }
        let name = self.fresh("copied");
        let target = match self.dice.below(4) {
            0 => format!("/{name}/"),
            1 if !listing.dirs.is_empty() => format!("{}/{name}", self.dice.pick(&listing.dirs)),
            2 => format!("/deep/{name}/x"),
            _ => format!("/{name}"),
        };
        let is_plain =
            !options.wildcard && options.include.is_empty() && options.exclude.is_empty();
        if is_plain && from.listing.files.contains(&source) && !target.ends_with('/') {
            listing.files.push(target.clone());
        }
        if is_plain && from.listing.dirs.contains(&source) && !target.ends_with('/') {
            listing.dirs.push(target.clone());
        }
        let mut op = FileOp::new(to.as_ref().map(|to| to.output.clone()));
        if self.dice.chance(20) {
            // Out of another chain, which becomes part of the vertex.
            let chain = FileOp::new(Some(from.output.clone())).mkfile(
                "/chained",
                0o644,
                self.nonce.clone(),
                MkfileOptions::default(),
            );
            op = op.copy(
                chain,
                "/chained",
                format!("/{name}-chained"),
                CopyOptions::default(),
            );
        }
        let op = op.copy(from.output, source, target, options);
        let output = op.build(Constraints::default())?;
        self.push(output, listing, to.is_some_and(|to| to.is_root));
        Ok(())
    }

    /// Sometimes, of a copied directory something that is in it has to be there.
    fn require(&mut self, from: &Value, source: &str, options: &mut CopyOptions) {
        let below: Vec<&str> = from
            .listing
            .files
            .iter()
            .chain(&from.listing.dirs)
            .filter_map(|path| path.strip_prefix(source)?.strip_prefix('/'))
            .collect();
        if !below.is_empty() && options.include.is_empty() && self.dice.chance(30) {
            options.required_paths = vec![(*self.dice.pick(&below)).to_owned()];
        }
    }

    /// Two files that are the same and were made differently, copied to the same place: the daemon
    /// takes the copies for one.
    pub(super) fn twins(&mut self) -> Result<(), llb::Error> {
        let to = self.base();
        let name = self.fresh("twin");
        let file = |op: FileOp, nonce: &str| {
            op.mkfile("/same", 0o640, nonce.to_owned(), MkfileOptions::default())
                .build(Constraints::default())
        };
        let pad = FileOp::new(None).mkdir(format!("/{name}"), 0o755, MkdirOptions::default());
        let sources = [
            file(FileOp::new(None), &self.nonce)?,
            file(pad, &self.nonce)?,
        ];
        for source in sources {
            let output = FileOp::new(Some(to.output.clone()))
                .copy(source, "/same", format!("/{name}"), CopyOptions::default())
                .build(Constraints::default())?;
            self.push(output, to.listing.clone(), to.is_root);
        }
        Ok(())
    }

    /// A path or pattern of a tree.
    fn copied(&mut self, from: &Value, options: &mut CopyOptions) -> String {
        let listing = &from.listing;
        if self.dice.chance(25) {
            options.wildcard = true;
            let directory = match listing.dirs.is_empty() || self.dice.chance(50) {
                true => String::new(),
                false => self.dice.pick(&listing.dirs).clone(),
            };
            let pattern = *self
                .dice
                .pick(&["*", "?", "*.txt", "[a-c]*", "*/*", "x*", "e/*"]);
            return format!("{directory}/{pattern}");
        }
        let lists = [&listing.files, &listing.dirs, &listing.links];
        let list = *self.dice.pick(&lists);
        if list.is_empty() || self.dice.chance(20) {
            // The whole tree, below a name of its own.
            options.contents_only = true;
            return "/".to_owned();
        }
        if std::ptr::eq(list, &listing.links) {
            // It may lead nowhere.
            options.follow_symlinks = false;
        }
        self.dice.pick(list).clone()
    }
}
