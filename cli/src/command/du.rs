//! `dagop du`: the records of the daemon's cache, largest first.

use std::fmt::Write as _;

use dagop::event;
use dagop::report::text;
use dagop::{DiskRecord, Engine};
use serde_json::{Value, json};

use crate::args::DuArgs;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Widest a description may be, in characters.
const DESCRIPTION_WIDTH_MAX: usize = 70;

pub(crate) async fn du(config: &Config, args: &DuArgs) -> Result<(), CliError> {
    let engine = Engine::start(config.engine_options()?).await?;
    let mut records = engine.disk_usage().await?;
    records.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let text = if args.json {
        format!("{:#}\n", Value::from_iter(records.iter().map(json_record)))
    } else {
        table(&records, event::now())
    };
    output::to_stdout(text.as_bytes())
}

fn json_record(record: &DiskRecord) -> Value {
    json!({
        "id": record.id,
        "size": record.size,
        "created_ms": record.created_ms,
        "last_used_ms": record.last_used_ms,
        "usage_count": record.usage_count,
        "mutable": record.mutable,
        "in_use": record.in_use,
        "shared": record.shared,
        "kind": record.kind,
        "description": record.description,
        "parents": record.parents,
    })
}

fn table(records: &[DiskRecord], now: event::UnixMillis) -> String {
    let mut table = format!(
        "{:<25}  {:>8}  {:>9}  {:>5}  {:<9}  {}\n",
        "ID", "SIZE", "LAST USED", "USES", "STATE", "DESCRIPTION"
    );
    for record in records {
        let used = record.last_used_ms.map_or("-".to_owned(), |at| {
            format!("{} ago", text::duration(now.saturating_sub(at)))
        });
        // Writing to a String cannot fail.
        _ = writeln!(
            table,
            "{:<25}  {:>8}  {used:>9}  {:>5}  {:<9}  {}",
            record.id,
            text::bytes(record.size),
            record.usage_count,
            state(record),
            text::one_line(&record.description, DESCRIPTION_WIDTH_MAX),
        );
    }
    let sum = |shown: fn(&DiskRecord) -> bool| -> u64 {
        records
            .iter()
            .filter(|record| shown(record))
            .map(|record| record.size)
            .sum()
    };
    _ = writeln!(
        table,
        "{} records, {} in all, {} of it reclaimable",
        records.len(),
        text::bytes(sum(|_| true)),
        text::bytes(sum(|record| !record.in_use)),
    );
    table
}

fn state(record: &DiskRecord) -> &'static str {
    match (record.in_use, record.shared, record.mutable) {
        (true, _, _) => "in use",
        (_, true, _) => "shared",
        (_, _, true) => "mutable",
        _ => "private",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_adds_up() {
        let record = DiskRecord {
            id: "abcdefghijklmnopqrstuvwxy".into(),
            size: 1_500_000,
            created_ms: Some(0),
            last_used_ms: Some(60_000),
            usage_count: 3,
            mutable: false,
            in_use: true,
            shared: true,
            kind: "regular".into(),
            description: "make\nall".into(),
            parents: Vec::new(),
        };
        let idle = DiskRecord {
            in_use: false,
            shared: false,
            mutable: true,
            last_used_ms: None,
            ..record.clone()
        };
        let table = table(&[record, idle], 3_660_000);
        expect![[r#"
            ID                             SIZE  LAST USED   USES  STATE      DESCRIPTION
            abcdefghijklmnopqrstuvwxy     1.5MB  1h00m ago      3  in use     make all
            abcdefghijklmnopqrstuvwxy     1.5MB          -      3  mutable    make all
            2 records, 3.0MB in all, 1.5MB of it reclaimable
        "#]]
        .assert_eq(&table);
    }
}
