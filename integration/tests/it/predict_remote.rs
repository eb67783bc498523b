//! Sources of generated graphs that the daemon gets over the network: images of a registry, files
//! over HTTP, git repositories.
//!
//! What each of them resolves to is known here, because it was made here: nothing the daemon says
//! goes into a prediction. Images are pushed and repositories made only for graphs that use them.

use std::{cell::OnceCell, collections::BTreeMap, fs, path::Path, process::Command};

use integration::{
    downloads::{Page, Pages, Repositories, git},
    registry,
};
use snapshots::image::{self, ArchiveOptions};
use solver::{
    Digest,
    cachemap::Resolved,
    llb::{
        self, Output,
        source::{BlobOptions, GitOptions, HttpOptions, ImageOptions, ResolveMode},
    },
    predict::Source,
};
use tempfile::TempDir;

use crate::predict_world::{Dice, Image, Listing};

/// The servers of a run.
pub(crate) struct Servers {
    registry: String,
    pages: Pages,
    repositories: Repositories,
    folder: TempDir,
}

impl Servers {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            registry: registry::shared()?,
            pages: Pages::start()?,
            repositories: Repositories::start(folder.path())?,
            folder,
        })
    }
}

/// A source, and what is known of it.
pub(crate) struct Remote {
    pub(crate) output: Output,
    pub(crate) listing: Listing,
    /// Commands can run in it.
    pub(crate) is_root: bool,
    /// What the prediction is told.
    pub(crate) source: Source,
}

/// What the servers have for one graph.
pub(crate) struct Offer<'a> {
    servers: &'a Servers,
    nonce: String,
    image: &'a Image,
    /// Minor version of the daemon.
    minor: u32,
    /// Name of the image in the registry, and the digest of its index, once it is there.
    pushed: OnceCell<(String, Digest)>,
    repository: OnceCell<Repository>,
}

/// A repository by name, and its commits.
struct Repository {
    name: String,
    first: String,
    last: String,
    /// The object of the annotated tag, which names the first commit.
    tag: String,
}

/// Branch of the second commit, the one of HEAD.
const BRANCH: &str = "main";

/// Tag of the first commit.
const TAG: &str = "light";

/// Annotated tag of the first commit.
const ANNOTATED: &str = "noted";

impl<'a> Offer<'a> {
    pub(crate) fn new(servers: &'a Servers, nonce: &str, image: &'a Image, minor: u32) -> Self {
        Self {
            servers,
            nonce: nonce.to_owned(),
            image,
            minor,
            pushed: OnceCell::new(),
            repository: OnceCell::new(),
        }
    }

    /// Any of them.
    pub(crate) fn any(&self, dice: &mut Dice) -> Result<Remote, llb::Error> {
        match dice.below(4) {
            0 => self.repository(dice),
            1 => self.page(dice),
            2 if self.minor >= 28 && dice.chance(30) => self.blob(dice),
            _ => self.image(dice),
        }
    }

    fn pushed(&self) -> &(String, Digest) {
        self.pushed.get_or_init(|| {
            let name = format!("{}/graphs/{}", self.servers.registry, self.nonce);
            let index = push(self.image, self.servers.folder.path(), &name);
            (name, index)
        })
    }

    /// The image of two layers by tag, by a digest, or by both.
    fn image(&self, dice: &mut Dice) -> Result<Remote, llb::Error> {
        let (name, index) = self.pushed();
        let manifest = self.image.layered.descriptor.digest().to_string();
        let (reference, digest) = match dice.below(4) {
            0 => (format!("{name}@{index}"), index.clone()),
            1 => (format!("{name}@{manifest}"), digest(&manifest)),
            2 => (format!("{name}:latest@{index}"), index.clone()),
            _ => (format!("{name}:latest"), index.clone()),
        };
        let limit = dice.chance(15).then_some(1);
        let options = ImageOptions {
            layer_limit: limit,
            resolve_mode: match dice.chance(20) {
                true => ResolveMode::ForcePull,
                false => ResolveMode::Default,
            },
            ..ImageOptions::default()
        };
        let output = llb::source::image(&reference, options)?;
        let layers = self.image.layered.diff_ids.iter();
        let mut listing = Listing {
            files: vec!["/bin/busybox".to_owned(), "/etc/issue".to_owned()],
            dirs: vec!["/bin".to_owned(), "/etc".to_owned()],
            links: vec!["/bin/sh".to_owned()],
        };
        if limit.is_none() {
            listing.files[1] = "/usr/share/notes/a.txt".to_owned();
            listing.files.push("/usr/share/same.txt".to_owned());
            listing.dirs.push("/usr/share".to_owned());
            listing.links.push("/usr/notes".to_owned());
        }
        Ok(Remote {
            output,
            listing,
            is_root: true,
            source: Source {
                resolved: Some(Resolved::Image { digest }),
                layers: Some(layers.map(|id| self::digest(id.as_str())).collect()),
            },
        })
    }

    /// The config of the image as a file.
    fn blob(&self, dice: &mut Dice) -> Result<Remote, llb::Error> {
        let (name, _) = self.pushed();
        let config = self.image.layered.manifest.config().digest().to_string();
        let options = BlobOptions {
            filename: Some("config.json".to_owned()),
            mode: *dice.pick(&[0o600, 0o644]),
            uid: *dice.pick(&[0, 7]),
            ..BlobOptions::default()
        };
        Ok(Remote {
            output: llb::source::image_blob(&format!("{name}@{config}"), options)?,
            listing: file("config.json"),
            is_root: false,
            source: Source::default(),
        })
    }

    /// A file with some of the headers that get into keys, and with some that do not.
    fn page(&self, dice: &mut Dice) -> Result<Remote, llb::Error> {
        let body = format!("{} {} <&>", self.nonce, dice.below(3)).into_bytes();
        let checksum = Digest::sha256(&body);
        let etag = dice.chance(50).then(|| format!("\"{checksum}\""));
        let modified = dice.chance(40);
        let last_modified = modified.then(|| "Tue, 14 Nov 2023 22:13:20 GMT".to_owned());
        let filename = dice.chance(30).then(|| "announced.txt".to_owned());
        let is_checked = dice.chance(30);
        let options = HttpOptions {
            checksum: is_checked.then(|| checksum.clone()),
            filename: dice.chance(30).then(|| "given.txt".to_owned()),
            mode: *dice.pick(&[0, 0o640, 0o755]),
            uid: *dice.pick(&[0, 0, 12]),
            gid: *dice.pick(&[0, 0, 34]),
            accept: (self.minor >= 21 && dice.chance(20)).then(|| "text/plain".to_owned()),
            ..HttpOptions::default()
        };
        let path = format!("/{}/{}/page.txt", self.nonce, dice.below(1000));
        // The server's word counts only where it is asked before.
        let announced = filename.clone().filter(|_| !is_checked);
        let name = options.filename.clone().or(announced);
        let url = self.servers.pages.offer(
            &path,
            Page {
                body,
                etag,
                last_modified: last_modified.clone(),
                filename: filename.clone(),
            },
        );
        let resolved = Resolved::Http {
            checksum,
            filename,
            last_modified,
        };
        Ok(Remote {
            output: llb::source::http(&url, options)?,
            listing: file(name.as_deref().unwrap_or("page.txt")),
            is_root: false,
            source: Source {
                resolved: Some(resolved),
                layers: None,
            },
        })
    }

    /// A checkout by branch, tag, commit or nothing.
    fn repository(&self, dice: &mut Dice) -> Result<Remote, llb::Error> {
        let repository = self
            .repository
            .get_or_init(|| Repository::make(&self.servers.repositories, &self.nonce));
        let keep_git_dir = dice.chance(25);
        let has_subdir = dice.chance(25);
        let (first, last) = (&repository.first, &repository.last);
        let (reference, commit, full) = match dice.below(6) {
            0 => (None, last, format!("refs/heads/{BRANCH}")),
            1 => (Some(TAG), first, format!("refs/tags/{TAG}")),
            2 => {
                // With `.git`, the tag itself; from v0.13 to v0.25 what it names, before the tag.
                let is_kept = keep_git_dir && !has_subdir && self.minor >= 26;
                let object = match is_kept || self.minor < 13 {
                    true => &repository.tag,
                    false => first,
                };
                (Some(ANNOTATED), object, format!("refs/tags/{ANNOTATED}"))
            }
            3 => (Some(first.as_str()), first, first.clone()),
            _ => (Some(BRANCH), last, format!("refs/heads/{BRANCH}")),
        };
        let subdir = has_subdir.then(|| "sub".to_owned());
        let options = GitOptions {
            reference: reference.map(str::to_owned),
            keep_git_dir: keep_git_dir && subdir.is_none(),
            skip_submodules: self.minor >= 24 && dice.chance(20),
            subdir,
            ..GitOptions::default()
        };
        let listing = match options.subdir {
            Some(_) => file("below.txt"),
            None => Listing {
                files: vec!["/README".to_owned(), "/sub/below.txt".to_owned()],
                dirs: vec!["/sub".to_owned()],
                links: vec!["/link".to_owned()],
            },
        };
        let url = self.servers.repositories.url(&repository.name);
        let resolved = Resolved::Git {
            commit: commit.clone(),
            reference: full,
        };
        Ok(Remote {
            output: llb::source::git(&url, options)?,
            listing,
            is_root: false,
            source: Source {
                resolved: Some(resolved),
                layers: None,
            },
        })
    }
}

impl Repository {
    fn make(server: &Repositories, nonce: &str) -> Self {
        let name = format!("{nonce}.git");
        let path = server.path(&name);
        fs::create_dir_all(path.join("sub")).unwrap();
        let git = |arguments: &[&str]| git(&path, arguments).unwrap();
        git(&["init", "--quiet", "--initial-branch", BRANCH]);
        fs::write(path.join("README"), nonce).unwrap();
        fs::write(path.join("sub/below.txt"), "below").unwrap();
        std::os::unix::fs::symlink("README", path.join("link")).unwrap();
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", nonce]);
        git(&["tag", TAG]);
        git(&["tag", "--annotate", "--message", nonce, ANNOTATED]);
        fs::write(path.join("README"), "a second commit").unwrap();
        git(&["commit", "--quiet", "--all", "--message", "second"]);
        Self {
            name,
            first: git(&["rev-parse", &format!("{TAG}^{{commit}}")]),
            last: git(&["rev-parse", BRANCH]),
            tag: git(&["rev-parse", ANNOTATED]),
        }
    }
}

fn digest(text: &str) -> Digest {
    Digest::parse(text).unwrap()
}

/// A tree of one file.
fn file(name: &str) -> Listing {
    Listing {
        files: vec![format!("/{name}")],
        ..Listing::default()
    }
}

/// Pushes the image of two layers behind an index; returns the digest of that.
fn push(image: &Image, folder: &Path, name: &str) -> Digest {
    let manifests = vec![image.layered.descriptor.clone()];
    let index = image::write_index(&*image.store, manifests, BTreeMap::new()).unwrap();
    let archive = folder.join("image.tar");
    let file = fs::File::create(&archive).unwrap();
    let options = ArchiveOptions {
        docker: false,
        time: 0,
    };
    image::archive(&*image.store, std::slice::from_ref(&index), file, &options).unwrap();
    let output = Command::new("skopeo")
        .args(["copy", "--quiet", "--all", "--preserve-digests"])
        .arg("--dest-tls-verify=false")
        .arg(format!("oci-archive:{}", archive.display()))
        .arg(format!("docker://{name}:latest"))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    digest(index.digest().as_ref())
}
