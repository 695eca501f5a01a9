//! The configuration of the nats-server that `glance` starts.

use std::path::Path;

use glance_protocol::ConfigError;

use crate::data_dir;

/// The configuration that operators of a separate broker run; `glance` runs it too, apart from two lines.
const TEMPLATE: &str = include_str!("../../../nats.conf");

/// The line of the template that makes it reachable from everywhere.
const LISTEN: &str = "listen: \"0.0.0.0:4222\"";

/// The variable of the template that stands for the folder of the store.
const STORE: &str = "store_dir: $GLANCE_NATS_STORE";

/// Where the accounts of the template begin.
const ACCOUNTS: &str = "\n# ---- Who may do what.";

/// What is put before the template. The server's log goes into ours, which has its own times.
const HEAD: &str = "# Written by glance at each start: changes to this file are lost.\n\
    server_name: glance\nlogtime: false\n\n";

/// The configuration of a server on loopback. There it needs no authorization: only this machine's users reach it.
pub(crate) fn configuration(port: u16, store: &Path) -> Result<String, ConfigError> {
    let Some(store) = store.to_str() else {
        return Err(ConfigError::new(
            data_dir::VARIABLE,
            &store.display().to_string(),
            "the name is not UTF-8, which nats-server does not understand; name another folder",
        ));
    };
    let settings = TEMPLATE.split_once(ACCOUNTS);
    let text = settings
        .map_or(TEMPLATE, |(settings, _)| settings)
        .replace(LISTEN, &format!("listen: \"127.0.0.1:{port}\""))
        .replace(STORE, &format!("store_dir: {}", quoted(store)));
    Ok(format!("{HEAD}{text}"))
}

/// A string as nats-server's configuration takes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_holds_what_is_replaced() {
        assert_eq!(TEMPLATE.matches(LISTEN).count(), 1);
        assert_eq!(TEMPLATE.matches(STORE).count(), 1);
        assert_eq!(TEMPLATE.matches(ACCOUNTS).count(), 1);
    }

    #[test]
    fn a_server_on_loopback_with_its_store() {
        let text = configuration(4223, Path::new("/data/a \"b\"\\c")).unwrap();
        assert!(text.contains("\nlisten: \"127.0.0.1:4223\"\n"), "{text}");
        assert!(text.contains(r#"store_dir: "/data/a \"b\"\\c""#), "{text}");
        assert!(!text.contains("0.0.0.0"), "{text}");
        assert!(
            !text.contains("accounts") && !text.contains("PASSWORD"),
            "{text}"
        );
    }
}
