//! Progress as JSON: one event per line, as the engine sent it.

use std::io::{self, Write};

use dagop::event::Event;

use super::Renderer;

pub(super) struct Json;

impl Renderer for Json {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")
    }
}
