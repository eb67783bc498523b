//! What `stat(2)` says about an entry: enough to tell that it was not touched since.
//!
//! Two equal identities mean equal content, with two exceptions that no use of `stat` can see:
//! a write in the same tick of the file system's clock as the last one (whoever compares identities rules that out,
//! see `Moment`), and a write through a shared memory mapping whose page was dirty already.

use std::os::fd::OwnedFd;

use crate::tree::Time;

/// Identity and state of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes; of a link, those of its text.
    pub size: u64,
    /// Type and permissions as the system numbers them.
    pub mode: u32,
    /// Owner on disk.
    pub uid: u32,
    /// Group on disk.
    pub gid: u32,
    /// Last write; programs can set it.
    pub mtime: Time,
    /// Last write or change of attributes; only the system sets it.
    pub ctime: Time,
}

impl Identity {
    /// The part of a `stat` that counts.
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn time(secs: i64, nanos: u64) -> Time {
    Time {
        secs,
        nanos: u32::try_from(nanos).unwrap_or(0),
    }
}

/// When something was read, by the clock that stamps the files. Decides whose identity can be
/// relied on later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    now: Time,
    /// The device whose clock is ours.
    device: Option<u64>,
}

/// File systems that are stamped by this machine's clock, by the number `statfs(2)` gives them:
/// ext, XFS, Btrfs, tmpfs, ramfs, overlayfs, F2FS, ZFS, bcachefs, FAT, exFAT, NTFS, SquashFS, EROFS.
const LOCAL_FILE_SYSTEMS: [u64; 14] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0x8584_58F6,
    0x794C_7630,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
    0x4D44,
    0x2011_BAB0,
    0x7366_746E,
    0x7371_7368,
    0xE0F5_E1E2,
];

/// What a file server's clock may be off.
const REMOTE_SKEW_SECS: i64 = 60;

/// Longest tick of the clock that stamps files: 100 ticks a second.
const TICK_NANOS: u32 = 10_000_000;

/// Coarsest stamp of a file system that stores no fractions: FAT counts two seconds at a time.
const COARSE_SECS: i64 = 2;

impl Moment {
    /// Now, for reading below the open directory `root`.
    pub(super) fn now(root: &OwnedFd) -> Self {
        // The coarse clock is the one that stamps: never ahead of a stamp that is yet to be given.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let local = rustix::fs::fstatfs(root)
            .is_ok_and(|fs| LOCAL_FILE_SYSTEMS.contains(&(fs.f_type as u64 & 0xFFFF_FFFF)));
        let device = rustix::fs::fstat(root).ok().map(|stat| stat.st_dev);
        Self {
            now: time(now.tv_sec, now.tv_nsec.unsigned_abs()),
            device: device.filter(|_| local),
        }
    }

    /// Would any later write give another identity? Only if both stamps lie before this moment
    /// by more than the clock's tick.
    pub(super) fn settles(&self, identity: &Identity) -> bool {
        [identity.mtime, identity.ctime]
            .into_iter()
            .all(|stamp| self.is_past(stamp, Some(identity.device) == self.device))
    }

    fn is_past(&self, stamp: Time, local: bool) -> bool {
        let slack = match stamp {
            _ if !local => Time::from_secs(REMOTE_SKEW_SECS),
            // Cut to a whole millisecond: the file system may be coarser than the clock.
            Time { nanos, .. } if nanos % 1_000_000 == 0 => Time::from_secs(COARSE_SECS),
            _ => Time {
                secs: 0,
                nanos: TICK_NANOS,
            },
        };
        let nanos = stamp.nanos + slack.nanos;
        let end = Time {
            secs: stamp
                .secs
                .saturating_add(slack.secs)
                .saturating_add(i64::from(nanos / 1_000_000_000)),
            nanos: nanos % 1_000_000_000,
        };
        end < self.now
    }
}

#[cfg(test)]
impl Moment {
    /// Another time on the same clock.
    pub(super) fn at(self, now: Time) -> Self {
        Self { now, ..self }
    }
}
