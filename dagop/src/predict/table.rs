//! The answer for people: one line per vertex, then what is missing, then a word on what is not
//! certain.

use std::fmt::Write as _;

use super::Report;
use crate::report::text;

/// Widest a name may be, in characters.
const NAME_WIDTH_MAX: usize = 48;

/// Most records of one vertex that are shown.
const RECORDS_MAX: usize = 2;

impl Report {
    /// A table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<NAME_WIDTH_MAX$}  {:<11}  {:<12}  {:<12}  {:<25}  {}\n",
            "VERTEX", "KIND", "DIGEST", "CACHE MAP", "RECORDS", "UNKNOWN"
        );
        for vertex in &self.vertices {
            let records: Vec<usize> = vertex
                .outputs
                .iter()
                .flat_map(|output| output.records.iter().copied())
                .collect();
            let mut shown: Vec<&str> = records
                .iter()
                .take(RECORDS_MAX)
                .map(|&at| text::digest(Some(&self.records[at].digest)))
                .collect();
            if records.len() > RECORDS_MAX {
                shown.push("...");
            }
            // Writing to a String cannot fail.
            _ = writeln!(
                table,
                "{:<NAME_WIDTH_MAX$}  {:<11}  {:<12}  {:<12}  {:<25}  {}",
                text::one_line(&vertex.name, NAME_WIDTH_MAX),
                vertex.kind,
                text::digest(Some(&vertex.digest)),
                text::digest(vertex.cache_map.as_deref()),
                if shown.is_empty() {
                    "-".to_owned()
                } else {
                    shown.join(" ")
                },
                self.unknown(vertex),
            );
        }
        self.missing_lines(&mut table);
        let merged = self.records.iter().filter(|record| record.merged).count();
        if merged > 0 {
            _ = writeln!(
                table,
                "{merged} records stand for vertices that the daemon may merge: it exports some of their links"
            );
        }
        if !self.proven {
            table.push_str("the formulas were not compared with a daemon of this release\n");
        }
        table
    }

    /// Numbers of what is missing for the keys of a vertex.
    fn unknown(&self, vertex: &super::VertexReport) -> String {
        let of_inputs = vertex.inputs.iter().filter_map(|input| input.unknown);
        let of_outputs = vertex.outputs.iter().flat_map(|output| &output.unknown);
        let of_records = vertex.outputs.iter().flat_map(|output| &output.records);
        let of_records = of_records.flat_map(|&at| &self.records[at].unknown);
        let mut numbers: Vec<usize> = of_inputs
            .chain(of_outputs.copied())
            .chain(of_records.map(|unknown| unknown.missing))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let numbers: Vec<String> = numbers.iter().map(|at| format!("({})", at + 1)).collect();
        if numbers.is_empty() {
            "-".to_owned()
        } else {
            numbers.join(" ")
        }
    }

    fn missing_lines(&self, table: &mut String) {
        for (at, missing) in self.missing.iter().enumerate() {
            _ = writeln!(
                table,
                "({}) {} {}: {}",
                at + 1,
                text::digest(Some(&missing.vertex)),
                text::one_line(&missing.name, NAME_WIDTH_MAX),
                missing.reason,
            );
        }
    }
}
