//! Kinds of single edits: each changes one thing in a graph or in the local directory, and says
//! which reason it is.

use std::{collections::HashSet, path::Path};

use dagop::explain::{Reason, Setting};
use proto::pb::{self, file_action::Action};
use solver::llb::Definition;

use crate::{
    explain_draft::Draft,
    explain_edits_graph::{graphs, local_files, sources},
    explain_pipelines::{Context, SHAPES},
    explain_world::World,
    predict_world::Dice,
};

/// What an edit works on.
pub(crate) struct Site<'a> {
    pub(crate) world: &'a World,
    pub(crate) draft: &'a mut Draft,
    pub(crate) context: &'a Path,
    pub(crate) dice: &'a mut Dice,
    /// Nodes that were edited already; another edit takes others.
    pub(crate) touched: &'a mut HashSet<usize>,
}

/// An edit: its name, and how it is made. None if the graph has no place left for it.
pub(crate) type Edit = (&'static str, fn(&mut Site<'_>) -> Option<Reason>);

impl Site<'_> {
    /// A node that was not edited yet.
    pub(crate) fn take(&mut self, places: Vec<usize>) -> Option<usize> {
        let free: Vec<usize> = places
            .into_iter()
            .filter(|p| !self.touched.contains(p))
            .collect();
        if free.is_empty() {
            return None;
        }
        let place = *self.dice.pick(&free);
        self.touched.insert(place);
        Some(place)
    }

    fn exec(&mut self) -> Option<&mut pb::ExecOp> {
        let place = self.take(self.draft.execs())?;
        Some(self.draft.exec(place))
    }

    pub(crate) fn meta(&mut self) -> Option<&mut pb::Meta> {
        self.exec()?.meta.as_mut()
    }

    pub(crate) fn mount(&mut self, target: &str) -> Option<&mut pb::Mount> {
        self.exec()?
            .mounts
            .iter_mut()
            .find(|mount| mount.dest == target)
    }

    /// The actions of a file operation that has one of the wanted kind, and the place of that.
    fn action(&mut self, is: fn(&Action) -> bool) -> Option<(&mut Vec<pb::FileAction>, usize)> {
        let has = |op: &pb::op::Op| match op {
            pb::op::Op::File(file) => file
                .actions
                .iter()
                .any(|a| a.action.as_ref().is_some_and(is)),
            _ => false,
        };
        let place = self.take(self.draft.places(has))?;
        let actions = &mut self.draft.file(place).actions;
        let found = actions
            .iter()
            .position(|a| a.action.as_ref().is_some_and(is))?;
        Some((actions, found))
    }

    pub(crate) fn source(&mut self, scheme: &str) -> Option<&mut pb::SourceOp> {
        let is = |op: &pb::op::Op| matches!(op, pb::op::Op::Source(source) if source.identifier.starts_with(scheme));
        let place = self.take(self.draft.places(is))?;
        Some(self.draft.source(place))
    }
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

fn setting(setting: Setting, from: Option<String>, to: Option<String>) -> Option<Reason> {
    let name = None;
    Some(Reason::Setting {
        setting,
        name,
        from,
        to,
    })
}

fn mount(target: &str, option: &str, from: Option<&str>, to: Option<&str>) -> Option<Reason> {
    Some(Reason::Mount {
        target: target.to_owned(),
        option: option.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    })
}

fn action(action: String, field: &str, from: Option<&str>, to: Option<&str>) -> Option<Reason> {
    Some(Reason::Action {
        action,
        field: field.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    })
}

fn mkfile(site: &mut Site<'_>, edit: impl Fn(&mut pb::FileActionMkFile)) -> Option<String> {
    let (actions, place) = site.action(|action| matches!(action, Action::Mkfile(_)))?;
    match &mut actions[place].action {
        Some(Action::Mkfile(mkfile)) => {
            edit(mkfile);
            Some(format!("mkfile {}", mkfile.path))
        }
        _ => None,
    }
}

/// A copy, and its description after the edit. Copies of the local directory are told by patterns.
fn copy(site: &mut Site<'_>, edit: impl Fn(&mut pb::FileActionCopy)) -> Option<String> {
    let (actions, place) = site.action(
        |action| matches!(action, Action::Copy(copy) if !copy.include_patterns.is_empty()),
    )?;
    match &mut actions[place].action {
        Some(Action::Copy(copy)) => {
            edit(copy);
            Some(format!("copy {} {}", copy.src, copy.dest))
        }
        _ => None,
    }
}

fn by_id(user: u32, group: u32) -> Option<pb::ChownOpt> {
    let one = |id| {
        Some(pb::UserOpt {
            user: Some(pb::user_opt::User::ById(id)),
        })
    };
    Some(pb::ChownOpt {
        user: one(user),
        group: one(group),
    })
}

/// A graph after some edits, and the reasons that they are; none if one of them has no place.
pub(crate) fn apply(
    edits: &[Edit],
    world: &World,
    graph: &Definition,
    context: &Context,
    seed: u64,
) -> Option<(Definition, Vec<Reason>)> {
    let mut draft = Draft::new(graph);
    let (mut dice, mut touched) = (Dice::new(seed), HashSet::new());
    let mut expected = Vec::new();
    for (_, edit) in edits {
        expected.push(edit(&mut Site {
            world,
            draft: &mut draft,
            context: context.path(),
            dice: &mut dice,
            touched: &mut touched,
        })?);
    }
    Some((draft.definition(), expected))
}

/// All kinds.
pub(crate) fn all() -> Vec<Edit> {
    [
        commands(),
        settings(),
        mounts(),
        files(),
        sources(),
        local_files(),
        graphs(),
    ]
    .concat()
}

/// A pipeline of a seed, and two to five different edits for it.
pub(crate) fn several(seed: u64) -> (&'static str, Vec<Edit>) {
    let mut dice = Dice::new(seed);
    let shape = *dice.pick(&SHAPES);
    let wanted = 2 + dice.below(4);
    let all = all();
    let mut chosen: Vec<Edit> = Vec::new();
    while chosen.len() < wanted {
        let edit = *dice.pick(&all);
        if chosen.iter().all(|(name, _)| *name != edit.0) {
            chosen.push(edit);
        }
    }
    (shape, chosen)
}

fn commands() -> Vec<Edit> {
    vec![
        ("argument changed", |site| {
            let args = &mut site.meta()?.args;
            args[2] = "--other".to_owned();
            let (from, to) = (some("--flag"), some("--other"));
            Some(Reason::Argument { index: 2, from, to })
        }),
        ("argument added", |site| {
            site.meta()?.args.push("extra".to_owned());
            let (from, to) = (None, some("extra"));
            Some(Reason::Argument { index: 4, from, to })
        }),
        ("argument removed", |site| {
            let removed = site.meta()?.args.remove(2);
            Some(Reason::Argument {
                index: 2,
                from: Some(removed),
                to: None,
            })
        }),
        ("variable changed", |site| {
            site.meta()?.env[2] = "MODE=slow".to_owned();
            let name = "MODE".to_owned();
            Some(Reason::Env {
                name,
                from: some("fast"),
                to: some("slow"),
            })
        }),
        ("variable added", |site| {
            site.meta()?.env.push("NEW=1".to_owned());
            let name = "NEW".to_owned();
            Some(Reason::Env {
                name,
                from: None,
                to: some("1"),
            })
        }),
        ("variable removed", |site| {
            site.meta()?.env.remove(2);
            let name = "MODE".to_owned();
            Some(Reason::Env {
                name,
                from: some("fast"),
                to: None,
            })
        }),
        ("variables in another order", |site| {
            site.meta()?.env.swap(0, 2);
            Some(Reason::Order {
                of: "environment".to_owned(),
            })
        }),
    ]
}

fn settings() -> Vec<Edit> {
    vec![
        ("working directory", |site| {
            site.meta()?.cwd = "/else".to_owned();
            setting(Setting::Workdir, some("/work"), some("/else"))
        }),
        ("user", |site| {
            site.meta()?.user = "root".to_owned();
            setting(Setting::User, some("1000"), some("root"))
        }),
        ("host name", |site| {
            site.meta()?.hostname = "other".to_owned();
            setting(Setting::Hostname, some("builder"), some("other"))
        }),
        ("control group", |site| {
            site.meta()?.cgroup_parent = "/slice".to_owned();
            setting(Setting::CgroupParent, None, some("/slice"))
        }),
        ("valid exit codes", |site| {
            site.meta()?.valid_exit_codes = vec![0, 3];
            setting(Setting::ValidExitCodes, None, some("[0,3]"))
        }),
        ("removal of mount targets", |site| {
            site.meta()?.remove_mount_stubs_recursive = false;
            setting(Setting::MountStubs, some("true"), None)
        }),
        ("network", |site| {
            site.exec()?.network = pb::NetMode::None.into();
            setting(Setting::Network, some("sandbox"), some("none"))
        }),
        ("security", |site| {
            site.exec()?.security = pb::SecurityMode::Insecure.into();
            setting(Setting::Security, some("sandbox"), some("insecure"))
        }),
        ("limit", |site| {
            site.meta()?.ulimit[0].soft = 512;
            Some(Reason::Setting {
                setting: Setting::Ulimit,
                name: some("nofile"),
                from: some("Hard=2048 Soft=1024"),
                to: some("Hard=2048 Soft=512"),
            })
        }),
        ("extra host added", |site| {
            let host = pb::HostIp {
                host: "second".to_owned(),
                ip: "10.0.0.2".to_owned(),
            };
            site.meta()?.extra_hosts.push(host);
            let setting = Setting::ExtraHost;
            Some(Reason::Setting {
                setting,
                name: some("second"),
                from: None,
                to: some(""),
            })
        }),
        ("secret variable", |site| {
            site.exec()?.secretenv[0].id = "other".to_owned();
            Some(Reason::Setting {
                setting: Setting::SecretEnv,
                name: some("KEY"),
                from: some("ID=key"),
                to: some("ID=other"),
            })
        }),
        ("device", |site| {
            let device = pb::CdiDevice {
                name: "gpu".to_owned(),
                optional: true,
            };
            site.exec()?.cdi_devices.push(device);
            let setting = Setting::Device;
            Some(Reason::Setting {
                setting,
                name: some("gpu"),
                from: None,
                to: some("optional=true"),
            })
        }),
        ("platform", |site| {
            let place = site.take(site.draft.execs())?;
            let platform = site.draft.nodes[place].op.platform.as_mut()?;
            let from = format!("{}/{}", platform.os, platform.architecture);
            platform.architecture = "riscv64".to_owned();
            let to = format!("{}/riscv64", platform.os);
            Some(Reason::Platform { from, to })
        }),
    ]
}

fn mounts() -> Vec<Edit> {
    vec![
        ("size of a tmpfs", |site| {
            site.mount("/scratch")?.tmpfs_opt.as_mut()?.size = 7;
            mount("/scratch", "size", Some("1048576"), Some("7"))
        }),
        ("mode of a secret", |site| {
            site.mount("/run/token")?.secret_opt.as_mut()?.mode = 0o440;
            mount("/run/token", "mode", Some("0400"), Some("0440"))
        }),
        ("owner of a secret", |site| {
            site.mount("/run/token")?.secret_opt.as_mut()?.uid = 5;
            mount("/run/token", "uid", Some("1"), Some("5"))
        }),
        ("id of a secret", |site| {
            site.mount("/run/token")?.secret_opt.as_mut()?.id = "other".to_owned();
            mount("/run/token", "id", Some("token"), Some("other"))
        }),
        ("required agent", |site| {
            site.mount("/run/agent")?.ssh_opt.as_mut()?.optional = false;
            mount("/run/agent", "optional", Some("true"), None)
        }),
        ("read-only mount", |site| {
            site.mount("/data")?.readonly = false;
            mount("/data", "readonly", Some("true"), None)
        }),
        ("selector of a mount", |site| {
            site.mount("/data")?.selector = "/other".to_owned();
            let (from, to) = ("/set".to_owned(), "/other".to_owned());
            Some(Reason::Selector {
                target: "/data".to_owned(),
                from,
                to,
            })
        }),
        ("mount added", |site| {
            let tmpfs = pb::Mount {
                dest: "/new".to_owned(),
                input: -1,
                output: -1,
                mount_type: pb::MountType::Tmpfs.into(),
                tmpfs_opt: Some(pb::TmpfsOpt::default()),
                ..pb::Mount::default()
            };
            site.exec()?.mounts.push(tmpfs);
            let (target, kind) = ("/new".to_owned(), "tmpfs".to_owned());
            Some(Reason::MountAdded { target, kind })
        }),
        ("mount removed", |site| {
            site.exec()?.mounts.retain(|mount| mount.dest != "/cache");
            let (target, kind) = ("/cache".to_owned(), "cache".to_owned());
            Some(Reason::MountRemoved { target, kind })
        }),
        ("mount at another target", |site| {
            site.mount("/cache")?.dest = "/moved".to_owned();
            let (from, to) = ("/cache".to_owned(), "/moved".to_owned());
            Some(Reason::MountMoved { from, to })
        }),
    ]
}

fn files() -> Vec<Edit> {
    vec![
        ("content of a file", |site| {
            let action = mkfile(site, |file| file.data = "other".into())?;
            let sum = |text: &str| solver::Digest::sha256(text.as_bytes()).to_string();
            self::action(action, "content", Some(&sum("one")), Some(&sum("other")))
        }),
        ("mode of a file", |site| {
            let action = mkfile(site, |file| file.mode = 0o600)?;
            self::action(action, "mode", Some("0644"), Some("0600"))
        }),
        ("path of a file", |site| {
            let (actions, place) = site.action(|action| matches!(action, Action::Mkfile(_)))?;
            let Some(Action::Mkfile(file)) = &mut actions[place].action else {
                return None;
            };
            let from = std::mem::replace(&mut file.path, "/elsewhere".to_owned());
            let action = "mkfile /elsewhere".to_owned();
            self::action(action, "path", Some(&from), Some("/elsewhere"))
        }),
        ("owner of a file", |site| {
            let action = mkfile(site, |file| file.owner = by_id(7, 8))?;
            self::action(action, "owner", None, Some("7:8"))
        }),
        ("time of a file", |site| {
            let action = mkfile(site, |file| file.timestamp = 5)?;
            self::action(action, "timestamp", Some("-1"), Some("5"))
        }),
        ("action added", |site| {
            let (actions, _) = site.action(|action| matches!(action, Action::Mkfile(_)))?;
            let mut new = actions[1].clone();
            let rm = pb::FileActionRm {
                path: "/gone".to_owned(),
                ..Default::default()
            };
            new.action = Some(Action::Rm(rm));
            actions.push(new);
            relink(actions);
            Some(Reason::ActionAdded {
                action: "rm /gone".to_owned(),
            })
        }),
        ("action removed", |site| {
            let (actions, _) = site.action(|action| matches!(action, Action::Rm(_)))?;
            let Some(Action::Rm(rm)) = actions.pop()?.action else {
                return None;
            };
            relink(actions);
            Some(Reason::ActionRemoved {
                action: format!("rm {}", rm.path),
            })
        }),
        ("target of a link", |site| {
            let (actions, place) = site.action(|action| matches!(action, Action::Symlink(_)))?;
            let Some(Action::Symlink(link)) = &mut actions[place].action else {
                return None;
            };
            link.oldpath = "second".to_owned();
            let action = format!("symlink second {}", link.newpath);
            self::action(action, "target", Some("first"), Some("second"))
        }),
        ("mode of a directory", |site| {
            let (actions, place) = site.action(|action| matches!(action, Action::Mkdir(_)))?;
            let Some(Action::Mkdir(mkdir)) = &mut actions[place].action else {
                return None;
            };
            mkdir.mode = 0o711;
            self::action(
                format!("mkdir {}", mkdir.path),
                "mode",
                Some("0700"),
                Some("0711"),
            )
        }),
        ("allowed to be missing", |site| {
            let (actions, place) = site.action(|action| matches!(action, Action::Rm(_)))?;
            let Some(Action::Rm(rm)) = &mut actions[place].action else {
                return None;
            };
            rm.allow_not_found = true;
            self::action(
                format!("rm {}", rm.path),
                "allowNotFound",
                None,
                Some("true"),
            )
        }),
        ("destination of a copy", |site| {
            let action = copy(site, |copy| copy.dest = "/other".to_owned())?;
            self::action(action, "destination", Some("/work"), Some("/other"))
        }),
        ("mode of a copy", |site| {
            let action = copy(site, |copy| copy.mode = 0o755)?;
            self::action(action, "mode", Some("-1"), Some("0755"))
        }),
        ("patterns of a copy", |site| {
            let action = copy(site, |copy| copy.include_patterns.push("**/*.h".to_owned()))?;
            let (from, to) = (r#"["**/*.c","link"]"#, r#"["**/*.c","link","**/*.h"]"#);
            self::action(action, "include", Some(from), Some(to))
        }),
        ("exceptions of a copy", |site| {
            let action = copy(site, |copy| copy.exclude_patterns.push("x.c".to_owned()))?;
            self::action(action, "exclude", None, Some(r#"["x.c"]"#))
        }),
        ("links of a copy", |site| {
            let action = copy(site, |copy| copy.follow_symlink = true)?;
            self::action(action, "followSymlink", None, Some("true"))
        }),
        ("parents of a copy", |site| {
            let action = copy(site, |copy| copy.create_dest_path = false)?;
            self::action(action, "createDestPath", Some("true"), None)
        }),
    ]
}

/// Makes a list of actions a chain again.
fn relink(actions: &mut [pb::FileAction]) {
    let last = actions.len() - 1;
    for (place, action) in actions.iter_mut().enumerate() {
        action.output = if place == last { 0 } else { -1 };
        if place > 0 {
            // One input, then the results of the actions before.
            action.input = i64::try_from(place).unwrap();
        }
    }
}
