//! The configuration file: TOML, one table per component.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::UsageError;
use super::error::quoted;
use super::load::Layers;
use super::nearest::nearest;
use super::setting::Given;
use super::settings::{COMPONENTS, SETTINGS};
use super::source::Source;

/// Reads the file and puts its values into the layers.
pub(super) fn apply(path: &Path, layers: &mut Layers) -> Result<(), UsageError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        UsageError::new(format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    apply_text(path, &text, layers)
}

fn apply_text(path: &Path, text: &str, layers: &mut Layers) -> Result<(), UsageError> {
    let file = File { path, text };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        file.refuse(at, format!("is not TOML: {}", error.message()))
    })?;
    for (name, value) in root.get_ref() {
        let table = name.get_ref().as_ref();
        let at = name.span().start;
        if !COMPONENTS.iter().any(|component| component.table == table) {
            let known = COMPONENTS.iter().map(|component| component.table);
            return Err(file.unknown(at, table, nearest(table, known)));
        }
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(file.refuse(at, format!("{table} must be a table: [{table}]")));
        };
        for (key, value) in entries {
            file.apply_one(table, key.get_ref(), value, key.span().start, layers)?;
        }
    }
    Ok(())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn apply_one(
        &self,
        table: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        at: usize,
        layers: &mut Layers,
    ) -> Result<(), UsageError> {
        let path = format!("{table}.{key}");
        let Some(setting) = SETTINGS.iter().find(|setting| setting.path() == path) else {
            let paths: Vec<String> = SETTINGS.iter().map(|setting| setting.path()).collect();
            let near = nearest(&path, paths.iter().map(String::as_str));
            let flag = SETTINGS
                .iter()
                .find(|setting| setting.name == key.replace('_', "-"));
            let near = near
                .map(str::to_owned)
                .or_else(|| flag.map(|setting| setting.path()));
            return Err(self.unknown(at, &path, near.as_deref()));
        };
        let source = Source::File {
            path: self.path.to_owned(),
            line: self.line(at),
        };
        layers.set(setting, &Given::Toml(value.get_ref()), source)
    }

    fn unknown(&self, at: usize, name: &str, near: Option<&str>) -> UsageError {
        let advice = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "chronosdb -print-config shows all of them".to_owned(),
        };
        self.refuse(at, format!("unknown setting {}; {advice}", quoted(name)))
    }

    fn refuse(&self, at: usize, message: impl std::fmt::Display) -> UsageError {
        UsageError::new(format!(
            "{}:{}: {message}",
            self.path.display(),
            self.line(at)
        ))
    }

    fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut layers = Layers::default();
        apply_text(Path::new("c.toml"), text, &mut layers).map_err(|error| error.to_string())?;
        Ok(layers.config)
    }

    #[test]
    fn reads_every_type() {
        let config = read(concat!(
            "[node]\nid = \"a\"\nruntime_threads = 0x4\n",
            "[listen]\ngrpc = \"127.0.0.1:1\"\nreflection = false\n",
            "[wal]\nsegment_size = \"1MiB\"\nfsync_mode = \"periodic\"\nflush_interval_ms = 50\n",
            "[delivery]\nack_timeout = \"1m30s\"\n[store]\nblock_cache = 1_048_576\n",
        ))
        .unwrap();
        assert_eq!(config.node.id, "a");
        assert_eq!(config.node.runtime_threads, 4);
        assert_eq!(config.listen.grpc.to_string(), "127.0.0.1:1");
        assert!(!config.listen.reflection);
        assert_eq!(config.wal.segment_bytes, 1 << 20);
        assert_eq!(config.wal.fsync_mode.to_string(), "periodic");
        assert_eq!(config.wal.flush_interval.as_millis(), 50);
        assert_eq!(config.delivery.ack_timeout.as_secs(), 90);
        assert_eq!(config.store.block_cache_bytes, 1 << 20);
    }

    #[test]
    fn refuses_with_file_and_line() {
        for (text, expected) in [
            (
                "[wal]\nsegmnt_size = 1\n",
                "c.toml:2: unknown setting \"wal.segmnt_size\"; did you mean wal.segment_size?",
            ),
            (
                "\n[wall]\n",
                "c.toml:2: unknown setting \"wall\"; did you mean wal?",
            ),
            (
                "[listen]\ngrpc_addr = \":1\"\n",
                "c.toml:2: unknown setting \"listen.grpc_addr\"; did you mean listen.grpc?",
            ),
            (
                "[limits]\nack_timeout = \"1s\"\n",
                "c.toml:2: unknown setting \"limits.ack_timeout\"; did you mean delivery.ack_timeout?",
            ),
            (
                "[log]\ncolour = true\n",
                "c.toml:2: unknown setting \"log.colour\"; chronosdb -print-config shows all of them",
            ),
            ("wal = 3\n", "c.toml:1: wal must be a table: [wal]"),
            (
                "[wal]\n\nsegment_size = true\n",
                "c.toml:3: wal.segment_size takes a size from 64KiB to 2GiB, in bytes or with a suffix such as 512MiB, not true",
            ),
            (
                "[delivery]\nack_timeout = 30\n",
                "c.toml:2: delivery.ack_timeout takes a duration from 1ms to 24h with its unit, such as 1m30s or 100ms, not a number",
            ),
            (
                "[delivery]\nmax_retries = -1\n",
                "c.toml:2: delivery.max_retries takes a whole number of attempts from 1 to 1000000, not \"-1\"",
            ),
            (
                "[listen]\nreflection = \"yes\"\n",
                "c.toml:2: listen.reflection takes true or false, not the text \"yes\"",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
        assert!(
            read("[wal]\nsegment_size = = 1")
                .unwrap_err()
                .starts_with("c.toml:2: is not TOML: ")
        );
        assert!(
            read("[wal]\nsegment_size = 1\nsegment_size = 2")
                .unwrap_err()
                .starts_with("c.toml:")
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_a_configuration_or_one_line_of_error(text in any::<String>()) {
            if let Err(error) = read(&text) {
                prop_assert!(!error.contains('\n'));
            }
        }
    }
}
