//! Housekeeping: the ledger's limits, and the shared rows that nothing refers to any more.
//!
//! What builds share (`operations` and its packs, `requests`, listings) is swept only when builds
//! were removed, and then not each time: finding what is unused reads all rows. Every transaction
//! that refers to a shared row also writes it where it is missing, so a sweep between two builds of
//! another process removes nothing that process counts on.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Limits, listing, schema};

/// Unused pages left in the file for the next builds: 4 MiB.
const FREE_PAGES_KEPT: i64 = 256;

/// Builds between two sweeps while the oldest one goes with each new one.
const BUILDS_PER_SWEEP: u64 = 16;

/// Keeps the limits and the file in shape.
pub(super) fn keep(
    connection: &mut Connection,
    limits: Limits,
    wal: &Path,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let over = remove_old_builds(&transaction, limits)?;
    let newest = "SELECT coalesce(max(number), 0) FROM builds";
    let newest = transaction.query_row(newest, [], |row| row.get::<_, i64>(0))?;
    if over == Over::Bytes || newest.unsigned_abs() % BUILDS_PER_SWEEP == 0 {
        sweep(&transaction, limits)?;
    }
    transaction.commit()?;
    tidy_file(connection, wal)
}

/// Which limit was exceeded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    None,
    Builds,
    Bytes,
}

/// Removes the oldest builds until both limits hold: those that began first, whatever the clock said.
fn remove_old_builds(connection: &Connection, limits: Limits) -> rusqlite::Result<Over> {
    let removed = connection.execute(
        "DELETE FROM builds WHERE number IN
         (SELECT number FROM builds ORDER BY number DESC LIMIT -1 OFFSET ?1)",
        [limits.builds_max.max(1)],
    )?;
    let mut over = if removed > 0 {
        Over::Builds
    } else {
        Over::None
    };
    while used_bytes(connection)? > limits.bytes_max {
        let removed = connection.execute(
            "DELETE FROM builds WHERE number = (SELECT min(number) FROM builds)
             AND (SELECT count(*) FROM builds) > 1",
            [],
        )?;
        if removed == 0 {
            break;
        }
        over = Over::Bytes;
        // What only that build used may be most of the file.
        sweep(connection, limits)?;
    }
    Ok(over)
}

/// Removes shared rows that no build refers to.
fn sweep(connection: &Connection, limits: Limits) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM operations WHERE digest NOT IN
             (SELECT coalesce(canonical, raw) FROM vertices WHERE planned);
         DELETE FROM packs WHERE id NOT IN (SELECT pack FROM operations WHERE pack IS NOT NULL);
         DELETE FROM requests WHERE call_key NOT IN (SELECT call_key FROM calls);",
    )?;
    listing::sweep(connection, limits.listing_bytes_max)
}

/// Bytes of pages that hold something.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// Gives free pages back and moves the write-ahead log into the database, once either is worth the
/// wait for the disk.
fn tidy_file(connection: &Connection, wal: &Path) -> rusqlite::Result<()> {
    let free = connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0))?;
    if free > FREE_PAGES_KEPT {
        let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    if wal
        .metadata()
        .is_ok_and(|data| data.len() > schema::WAL_BYTES_KEPT.unsigned_abs())
    {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}
