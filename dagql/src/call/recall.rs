//! Recalling: the value of a call that an earlier run computed, from the store that outlives it.
//!
//! Only fields marked with [`Field::persist`](crate::Field::persist), and only calls that have a
//! portable key. Everything else is decided here: whether the session wants to be answered from the
//! store, and whether what the key relies on still holds when a value is about to be kept.

use std::sync::Arc;

use crate::cache::values::ValueStore;
use crate::portable::Portable;
use crate::schema::FieldDef;
use crate::{Id, Session, Value};

/// A call whose value outlives the process.
pub(super) struct Recall {
    store: ValueStore,
    portable: Portable,
    wanted: bool,
    writes: bool,
}

impl Recall {
    /// Nothing for a call whose value stays in the process.
    pub(super) async fn of(session: &Arc<Session>, field: &FieldDef, id: &Id) -> Option<Self> {
        if !field.persist {
            return None;
        }
        let store = session.cache().values()?.clone();
        let (asking, id) = (Arc::clone(session), id.clone());
        let key = move || asking.portables().of(asking.schema(), &id);
        Some(Self {
            store,
            portable: tokio::task::spawn_blocking(key).await.ok()??,
            wanted: session.recalls(),
            writes: session.cache().writes(),
        })
    }

    /// The value, if it is there and the session wants it.
    pub(super) async fn get(&self) -> Option<Value> {
        if !self.wanted {
            return None;
        }
        self.store.get(&self.portable.key).await
    }

    /// Keeps the value, if it is certain that it belongs to the key.
    pub(super) async fn put(&self, value: &Value) {
        if !self.writes {
            return;
        }
        let portable = self.portable.clone();
        let holds = tokio::task::spawn_blocking(move || portable.holds());
        if !holds.await.unwrap_or(false) {
            tracing::debug!("a value is not kept: its input changed while it was computed");
            return;
        }
        let (key, expires) = (&self.portable.key, self.portable.expires);
        self.store.put(key, value, expires).await;
    }
}
