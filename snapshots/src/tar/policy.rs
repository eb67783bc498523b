//! What an extraction may do.

/// Who owns extracted entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As in the archive; needs CAP_CHOWN.
    Preserve,
    /// The extracting process; nothing is changed.
    Current,
    /// Always this owner and group.
    Fixed {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What to do with device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// Create them; needs CAP_MKNOD.
    Create,
    /// Leave them out.
    Skip,
    /// Fail.
    Refuse,
}

/// What `.wh.` names mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They delete what is there, as in a layer.
    Apply,
    /// They are ordinary files, as in a plain archive.
    Literal,
    /// Fail: the archive must be a whole tree.
    Refuse,
}

/// What to do with extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrPolicy {
    /// Set them; fail when the system refuses one.
    Keep,
    /// Set those that the file system and our privileges permit.
    BestEffort,
    /// Ignore them.
    Skip,
}

/// Bounds on what an archive may create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of file data in all.
    pub bytes: u64,
}

impl Default for Limits {
    /// 10 million entries, 1 TiB.
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            bytes: 1 << 40,
        }
    }
}

/// The whole policy of an extraction. Confinement to the target directory is not an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Owners.
    pub owner: Owner,
    /// Device nodes.
    pub devices: Devices,
    /// `.wh.` names.
    pub whiteouts: Whiteouts,
    /// Extended attributes.
    pub xattrs: XattrPolicy,
    /// Bounds.
    pub limits: Limits,
}

impl Policy {
    /// A layer, applied by root: everything as the image says.
    pub fn layer() -> Self {
        Self {
            owner: Owner::Preserve,
            devices: Devices::Create,
            whiteouts: Whiteouts::Apply,
            xattrs: XattrPolicy::BestEffort,
            limits: Limits::default(),
        }
    }

    /// A layer, applied by an ordinary user: files belong to the user, devices are left out.
    pub fn unprivileged_layer() -> Self {
        Self {
            owner: Owner::Current,
            devices: Devices::Skip,
            ..Self::layer()
        }
    }

    /// A plain archive of somebody's files, such as an exported directory: nothing but files,
    /// directories and links, all of them ours.
    pub fn files() -> Self {
        Self {
            owner: Owner::Current,
            devices: Devices::Refuse,
            whiteouts: Whiteouts::Literal,
            xattrs: XattrPolicy::Skip,
            limits: Limits::default(),
        }
    }
}
