//! File modes as Go's `os.FileMode` numbers them, which is what fsutil sends.
//!
//! ```text
//! bit 31 directory   27 symbolic link   26 device   25 named pipe   24 socket
//!     23 setuid      22 setgid          21 character device         20 sticky      8..0 rwxrwxrwx
//! ```
//! A character device has both device bits; a regular file has no type bit.

use rustix::fs::FileType;

pub(crate) const DIR: u32 = 1 << 31;
pub(crate) const SYMLINK: u32 = 1 << 27;
pub(crate) const DEVICE: u32 = 1 << 26;
pub(crate) const NAMED_PIPE: u32 = 1 << 25;
pub(crate) const SOCKET: u32 = 1 << 24;
pub(crate) const SETUID: u32 = 1 << 23;
pub(crate) const SETGID: u32 = 1 << 22;
pub(crate) const CHAR_DEVICE: u32 = 1 << 21;
pub(crate) const STICKY: u32 = 1 << 20;

/// All bits that tell the type of a file.
const TYPE: u32 = DIR | SYMLINK | DEVICE | NAMED_PIPE | SOCKET | CHAR_DEVICE;

/// The unix mode bits above the permissions, with their Go counterparts.
const SPECIAL: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// Go's mode for a unix `st_mode`.
pub(crate) fn from_unix(st_mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(st_mode) {
        FileType::Directory => DIR,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR_DEVICE,
        FileType::Fifo => NAMED_PIPE,
        FileType::Socket => SOCKET,
        FileType::RegularFile | FileType::Unknown => 0,
    };
    SPECIAL
        .iter()
        .filter(|(unix, _)| st_mode & unix != 0)
        .fold(kind | (st_mode & 0o777), |mode, (_, go)| mode | go)
}

/// The unix permission bits (07777) of a Go mode.
pub(crate) fn permissions(mode: u32) -> u32 {
    SPECIAL
        .iter()
        .filter(|(_, go)| mode & go != 0)
        .fold(mode & 0o777, |bits, (unix, _)| bits | unix)
}

/// The file type of a Go mode; [`FileType::Unknown`] for a combination of bits that means nothing.
pub(crate) fn file_type(mode: u32) -> FileType {
    match mode & TYPE {
        0 => FileType::RegularFile,
        DIR => FileType::Directory,
        SYMLINK => FileType::Symlink,
        DEVICE => FileType::BlockDevice,
        kind if kind == DEVICE | CHAR_DEVICE => FileType::CharacterDevice,
        NAMED_PIPE => FileType::Fifo,
        SOCKET => FileType::Socket,
        _ => FileType::Unknown,
    }
}

/// Whether the receiver may ask for the content of an entry with this mode.
pub(crate) fn has_content(mode: u32) -> bool {
    mode & TYPE == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_modes() {
        assert_eq!(from_unix(0o100_644), 0o644);
        assert_eq!(from_unix(0o040_755), DIR | 0o755);
        assert_eq!(from_unix(0o120_777), SYMLINK | 0o777);
        assert_eq!(from_unix(0o104_755), SETUID | 0o755);
        assert_eq!(from_unix(0o041_777), DIR | STICKY | 0o777);
        assert_eq!(from_unix(0o020_600), DEVICE | CHAR_DEVICE | 0o600);
    }

    #[test]
    fn a_type_that_cannot_exist_is_unknown() {
        assert_eq!(file_type(DIR | SYMLINK), FileType::Unknown);
    }

    proptest! {
        #[test]
        fn conversion_loses_nothing(kind in 0usize..7, bits in 0u32..0o10000) {
            let unix = [0o100_000, 0o040_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000, 0o140_000][kind] | bits;
            let mode = from_unix(unix);
            prop_assert_eq!(permissions(mode), bits);
            prop_assert_eq!(file_type(mode), FileType::from_raw_mode(unix));
            prop_assert_eq!(has_content(mode), kind == 0);
        }
    }
}
