//! `dagop man`: the manual page, with a section for every command.

use std::io;

use clap_mangen::Man;

use crate::args::grammar;
use crate::error::CliError;
use crate::output;

pub(crate) fn man() -> Result<(), CliError> {
    let page = render().map_err(|error| CliError::internal(format!("manual page: {error}")))?;
    output::to_stdout(&page)
}

fn render() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut grammar = grammar();
    grammar.build();
    Man::new(grammar.clone()).render(&mut page)?;
    for command in grammar.get_subcommands() {
        let title = command
            .get_bin_name()
            .unwrap_or_else(|| command.get_name())
            .to_uppercase();
        page.extend_from_slice(format!(".SH {title}\n").as_bytes());
        let man = Man::new(command.clone());
        man.render_description_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_describes_every_command() {
        let page = String::from_utf8(render().unwrap()).unwrap();
        assert!(page.contains(".TH dagop"));
        for command in grammar().get_subcommands() {
            let title = format!(".SH DAGOP {}", command.get_name().to_uppercase());
            assert!(page.contains(&title), "{title}");
        }
    }
}
