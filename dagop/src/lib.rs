//! dagop

pub mod event;
pub mod ledger;
pub mod report;
